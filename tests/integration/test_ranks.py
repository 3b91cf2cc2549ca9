"""Runs of several processes under Paddle's launcher: same figures, same weights, orderly ends."""

import contextlib
import os
import pickle
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import paddle
import pytest
from checkpoints import assert_equal, backbone_of, head_of, tensors_of
from safetensors.numpy import load_file
from samples import on_image

from plsc.config.registry import BACKBONES
from plsc.data.transforms.standard import build_transforms

INIT_LENGTH = 0.01 * np.sqrt(32)  # of a random class centre of 32 dimensions


def embed(backbone, images):
    backbone.eval()
    with paddle.no_grad():
        return backbone(paddle.to_tensor(np.stack(images))).numpy()


def read_images(data, names):
    """What a dataset of the config makes of these files; without random transforms."""
    folder, random = Path(data["image_root"]), np.random.default_rng(0)
    transform = on_image(build_transforms(data["transform_ops"]))
    return [transform((folder / name).read_bytes(), random) for name in names]


@pytest.fixture
def weights(run):
    """(backbone, path of its weights): not trained, but BatchNorm has seen the pictures."""
    paddle.seed(3)
    backbone = BACKBONES.get("QuickFace_nano", "Model.name")(num_features=32)
    images = read_images(
        run.config["DataLoader"]["Eval"]["dataset"], [f"{i}.png" for i in range(22)]
    )
    for _ in range(10):
        backbone(paddle.to_tensor(np.stack(images)))
    content = {name: tensor.numpy() for name, tensor in backbone.state_dict().items()}
    (run.folder / "given.pdparams").write_bytes(pickle.dumps(content, protocol=4))
    return backbone, run.folder / "given"


EVERY_STEP = "Global.save_unit=step", "Global.save_interval=1"
STRAIGHT = {}


@pytest.fixture
def straight(run, tiny_faces, tmp_path_factory):
    """(losses, last checkpoint) of an undisturbed run on two ranks; done once."""
    if not STRAIGHT:
        other = type(run)(tmp_path_factory.mktemp("straight"), tiny_faces)
        other("train", *EVERY_STEP, size=2)
        STRAIGHT.update(losses=other.losses(), last=other.output / "latest")
    assert list(STRAIGHT["losses"]) == list(range(1, 19))
    return STRAIGHT["losses"], STRAIGHT["last"]


def figures_of(log):
    """{name: value} of the last line of an eval.log, and the number of pairs."""
    line = log.read_text().splitlines()[-1]
    found = {name: float(value) for name, value in re.findall(r"([\w-]+): (-?[\d.]+)\b", line)}
    return found, int(re.search(r"\((\d+) pairs", line)[1])


def test_evaluation_counts_each_pair_once_on_any_number_of_ranks(run, weights):
    """26 images over 3 ranks: the last rank has 8 of them, and batches of 4 do not divide 9."""
    backbone, path = weights
    data = run.config["DataLoader"]["Eval"]
    pairs = (Path(data["dataset"]["cls_label_path"]).read_text().splitlines())[:13]
    (run.folder / "pairs.txt").write_text("\n".join(pairs) + "\n")
    data["dataset"]["cls_label_path"] = str(run.folder / "pairs.txt")
    data["sampler"]["batch_size"] = 4
    log = run.output / "eval.log"
    run("eval", f"Global.pretrained_model={path}", size=3)
    assert sum("[Eval]" in line for line in log.read_text().splitlines()) == 1
    on_three = figures_of(log)
    run("eval", f"Global.pretrained_model={path}")
    on_one = figures_of(log)
    assert on_three[1] == on_one[1] == 13
    assert on_three[0].keys() == on_one[0].keys() >= {"accuracy-flip", "std", "xnorm"}
    for name in on_one[0]:
        assert on_three[0][name] == pytest.approx(on_one[0][name], abs=2.1e-5), name

    # The mean length over these 26 images and no other, by other means.
    images = read_images(data["dataset"], [n for line in pairs for n in line.split("\t")[:2]])
    mirrored = [image[..., ::-1] for image in images]
    lengths = np.linalg.norm(embed(backbone, images + mirrored), axis=1)
    assert len(lengths) == 52 and on_one[0]["xnorm"] == pytest.approx(lengths.mean(), abs=1e-4)


@contextlib.contextmanager
def launched(run, *overrides):
    """A run of two ranks in a process group of its own, with its output in `console`."""
    command = run.world.command(2, *run.arguments("train", *overrides))
    with open(run.folder / "console", "a") as console:
        process = subprocess.Popen(
            command, cwd=run.folder, stdout=console, stderr=console, start_new_session=True
        )
        try:
            yield process
        finally:
            kill_all(run, process)


def processes_of(run):
    """Pids of launcher, supervisors, trainers: all whose command line names the run's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            named = str(run.folder).encode() in (process / "cmdline").read_bytes()
            if named and int(process.name) != os.getpid():
                found.append(int(process.name))
    return found


def kill_all(run, launcher):
    """SIGKILL to the whole run; returns when nothing of it is left."""
    deadline = time.monotonic() + 30
    while left := processes_of(run):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        launcher.poll()
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
    launcher.wait(30)


def logged_steps(run):
    """Steps in metrics.jsonl, as far as its lines are whole."""
    path = run.output / "metrics.jsonl"
    return path.read_text().count('"kind": "train"') if path.exists() else 0


def wait_for_steps(run, launcher, count):
    deadline = time.monotonic() + 120
    while logged_steps(run) < count:
        assert time.monotonic() < deadline and launcher.poll() is None, (
            run.folder / "console"
        ).read_text()[-3000:]
        time.sleep(0.02)


def test_sigterm_to_the_launcher_saves_and_stops(run):
    with launched(run, "Global.epochs=1000") as launcher:
        wait_for_steps(run, launcher, 2)
        launcher.send_signal(signal.SIGTERM)
        launcher.wait(60)
        assert processes_of(run) == []  # nobody was left behind
    assert "saving and stopping" in (run.output / "train.log").read_text()
    assert run.state()["step"] == max(run.losses()) >= 2
    assert len(list((run.output / "latest").glob("head-*-of-00002.safetensors"))) == 2
    assert not [path for path in run.output.iterdir() if path.name.endswith(".partial")]


def test_killed_whole_and_resumed_on_two_ranks_is_exact(run, straight):
    """SIGKILL to everything at chance moments, saves among them: the same to the last bit."""
    losses, last = straight
    random = np.random.default_rng(os.getpid())
    for steps in (3, 3):
        latest = run.output / "latest"
        resume = [f"Global.checkpoint={latest}"] if latest.exists() else []
        at = run.state()["step"] if resume else 0
        with launched(run, *EVERY_STEP, *resume) as launcher:
            wait_for_steps(run, launcher, at + steps)
            time.sleep(random.uniform(0, 0.2))
            kill_all(run, launcher)
        for name in ("latest", "best_model"):
            pointer = run.output / name
            assert not pointer.is_symlink() or (pointer / "state.json").is_file()
    resumed = f"Global.checkpoint={run.output / 'latest'}"
    run("train", *EVERY_STEP, resumed, size=2)
    assert run.losses() == losses
    assert_equal(tensors_of(run.output / "latest"), tensors_of(last))
    assert not [p for p in run.output.iterdir() if p.name.endswith(".partial")]


def test_recomputation_on_two_ranks_changes_no_loss(run, straight):
    losses, _ = straight
    run.config["DistributedStrategy"]["recompute"] = {
        "layerlist_interval": 1,
        "names": ["stages.0", "stages.1"],
    }
    run("train", "Global.max_train_step=4", size=2)
    assert run.losses() == {step: losses[step] for step in range(1, 5)}


def test_class_means_and_a_frozen_backbone_on_two_ranks(run, weights):
    """Step 1 is taken at a rate of 0: its checkpoint holds the head as it began.

    22 images do not fill six batches of 4: those that fill the last one must not count twice.
    """
    backbone, path = weights
    data = run.config["DataLoader"]["Train"]["dataset"]
    data["transform_ops"] = [op for op in data["transform_ops"] if "RandFlipImage" not in op]
    run.config["Model"]["class_num"] = 7  # classes 5 and 6 have no image
    run.config["LRScheduler"] |= {"warmup_steps": 2, "warmup_start_lr": 0.0}
    run(
        "train",
        f"Global.pretrained_model={path}",
        "Global.finetune=True",
        "Global.freeze_backbone=True",
        "Global.head_init=class_means",
        "Global.save_unit=step",
        "Global.save_interval=1",
        "Global.max_train_step=3",
        size=2,
    )
    lines = Path(data["cls_label_path"]).read_text().splitlines()
    images = read_images(data, [line.split("\t")[0] for line in lines])
    labels = np.array([int(line.split("\t")[1]) for line in lines])
    embeddings = embed(backbone, images).astype(np.float64)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    begun = head_of(run.output / "step_1")["weight"]
    for label in range(5):
        mean = embeddings[labels == label].mean(axis=0)
        expected = mean / np.linalg.norm(mean) * INIT_LENGTH
        np.testing.assert_allclose(begun[label], expected, atol=2e-6, err_msg=str(label))
    for row in begun[5:]:  # random rows
        assert 0.5 * INIT_LENGTH < np.linalg.norm(row) < 2 * INIT_LENGTH

    ended = run.output / "latest"
    assert run.state()["step"] == 3
    given = {name: tensor.numpy() for name, tensor in backbone.state_dict().items()}
    assert_equal(backbone_of(ended), given)  # running statistics too
    assert load_file(ended / "backbone-optimizer.safetensors") == {}
    moved = head_of(ended)["weight"]
    assert (moved != begun).any(axis=1).sum() >= 3


def test_packages_of_the_working_directory_are_not_imported(run):
    """The launcher is started where a folder `plsc` and a file `yaml.py` lie about."""
    (run.folder / "plsc" / "cli").mkdir(parents=True)
    trap = f"open({str(run.folder / 'imported')!r}, 'a').write(__name__ + '\\n')\n"
    for path in ("plsc/__init__.py", "plsc/cli/__init__.py", "yaml.py"):
        (run.folder / path).write_text(trap)
    arguments = run.arguments("train", "Global.max_train_step=1")
    run.world.run(2, *arguments, PYTHONPATH="")
    assert list(run.losses()) == [1]
    imported = run.folder / "imported"
    assert not imported.exists(), imported.read_text()


def test_resumed_at_the_limit_takes_no_further_step(run):
    run("train", "Global.max_train_step=2")
    saved = run.output / "step_2"
    written = (saved / "state.json").stat().st_mtime_ns
    run("train", "Global.max_train_step=2", f"Global.checkpoint={run.output / 'latest'}")
    assert list(run.losses()) == [1, 2]
    assert (saved / "state.json").stat().st_mtime_ns == written
    assert [path.name for path in run.output.glob("step_*")] == ["step_2"]
    assert os.readlink(run.output / "latest") == "step_2"


def test_best_model_where_the_step_has_been_saved_already(run, read_metrics):
    run("train", "Global.eval_during_train=True", "Global.eval_unit=epoch", "Global.epochs=2",
        "Global.save_unit=step", "Global.save_interval=1")  # fmt: skip
    state = run.state("best_model")
    assert {path.name for path in (run.output / "best_model").iterdir()} >= {
        "backbone.safetensors",
        "backbone-optimizer.safetensors",
        "head-00000-of-00001.safetensors",
    }
    metrics = {entry["step"]: entry["metric"] for entry in read_metrics(run.output, "eval")}
    assert state["best_metric"] == max(metrics.values()) == metrics[state["step"]]
    last = run.state()
    assert (last["step"], last["epoch"], last["consumed"]) == (22, 2, 0)
    assert last["best_metric"] == state["best_metric"]


def test_mistakes_that_end_a_run_before_training(run, weights):
    pairs = run.folder / "few.txt"
    lines = Path(run.config["DataLoader"]["Eval"]["dataset"]["cls_label_path"]).read_text()
    pairs.write_text("".join(lines.splitlines(keepends=True)[:6]))
    means = ["Global.head_init=class_means", f"Global.pretrained_model={weights[1]}"]
    few = ["Global.eval_during_train=True", f"DataLoader.Eval.dataset.cls_label_path={pairs}"]
    cases = [
        (["Global.finetune=True"], "Global.finetune needs weights to start from"),
        (means, "set Global.finetune=True"),
        (few, "nrof_folds 10 needs as many pairs, got 6"),
    ]
    for overrides, line in cases:
        assert line in run.refused("train", *overrides)
        assert not run.output.exists()
