"""Train, evaluate and export by the public commands; what a run shows and leaves behind."""

import json
import subprocess
import sys

import numpy as np
import pytest
from checkpoints import backbone_of
from commands import installed, python
from filled_nets import embeddings
from places import ROOT


@pytest.mark.parametrize("size", [1, 2])
def test_train_evaluate_export(run, read_metrics, size, monkeypatch):
    monkeypatch.delenv("PLSC_NUM_THREADS", raising=False)  # as many threads as a user gets
    run.config["Global"] |= {"eval_during_train": True, "eval_unit": "epoch", "epochs": 2}
    done = run.installed("train", size=size)
    text = (run.output / "train.log").read_text()
    assert "precision in effect: float32" in text and "peak memory" in text
    assert f"{size} process(es)" in text and "M parameters" in text
    used = "3 on this rank, 1 of them" if size == 2 else "5 on this rank, 2 of them"
    assert f"head: 5 classes × 32, {used} used in a step" in text
    assert "Traceback" not in done.stderr

    steps = read_metrics(run.output)
    assert [entry["step"] for entry in steps] == list(range(1, (22 if size == 1 else 12) + 1))
    for key in ("epoch", "loss", "lr", "grad_norm", "images_per_second"):
        assert all(key in entry for entry in steps)
    evaluations = read_metrics(run.output, "eval")
    assert len(evaluations) == 2 and {"accuracy-flip", "std", "xnorm"} <= evaluations[0].keys()
    best = max(entry["metric"] for entry in evaluations)
    assert run.state("best_model")["best_metric"] == best
    assert "class_num: 5" in (run.output / "config.yaml").read_text()

    weights = f"Global.pretrained_model={run.output / 'latest'}"
    done = run.installed("eval", weights, size=size)
    if size == 1:
        assert f"accuracy-flip: {evaluations[-1]['accuracy-flip']:.5f}" in done.stdout
        done = run.installed("export", weights)
        onnx = run.output.with_suffix(".onnx")
        assert onnx.is_file() and "cosine" in done.stdout
        run("export", weights, "Export.export_type=paddle")
        assert run.output.with_suffix(".pdiparams").is_file()


def test_onnx_gives_the_embeddings_of_the_checkpoint(run, small_checkpoint):
    """An independent look: names, free batch, metadata, figures from numpy's own run."""
    onnxruntime = pytest.importorskip("onnxruntime")
    from plsc.config.registry import BACKBONES

    run("export", f"Global.pretrained_model={small_checkpoint}")
    session = onnxruntime.InferenceSession(str(run.output.with_suffix(".onnx")))
    (data,), (embedding,) = session.get_inputs(), session.get_outputs()
    assert (data.name, embedding.name) == ("data", "embedding")
    assert isinstance(data.shape[0], str) and data.shape[1:] == [3, 112, 112]
    metadata = session.get_modelmeta().custom_metadata_map
    assert "RGB" in metadata.values()

    images = np.random.default_rng(0).uniform(-1, 1, (3, 3, 112, 112)).astype(np.float32)
    backbone = BACKBONES.get(run.config["Model"]["name"], "Model.name")(num_features=32)
    for name, array in backbone_of(small_checkpoint).items():
        backbone.state_dict()[name].set_value(array)
    expected = embeddings(backbone, images)
    np.testing.assert_allclose(session.run(None, {"data": images})[0], expected, atol=1e-4)


def test_retention(run):
    run("train", "Global.max_num_latest_checkpoint=2")
    found = sorted(path.name for path in run.output.iterdir() if path.is_dir())
    assert found == ["epoch_2", "epoch_3", "latest"]


def test_two_nodes_as_two_launchers(run):
    """Two launcher processes on loopback, one rank each, train one model."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    arguments = run.arguments("train", "Global.max_train_step=3")
    nodes = []
    for rank in (0, 1):
        launcher = [sys.executable, "-m", "paddle.distributed.launch", "--nnodes=2"]
        launcher += [f"--master=127.0.0.1:{port}", f"--rank={rank}", "--nproc_per_node=1"]
        launcher += [f"--log_dir={run.folder / f'log{rank}'}", *arguments]
        nodes.append(subprocess.Popen(launcher, cwd=run.folder, stderr=subprocess.PIPE, text=True))
    assert [node.wait(120) for node in nodes] == [0, 0]
    assert len(list((run.output / "latest").glob("head-*-of-00002.safetensors"))) == 2


def test_tools_are_the_commands():
    for name in ("train", "eval", "export"):
        assert f"plsc-{name}" in python(ROOT / "tools" / f"{name}.py", "--help").stdout


def test_doctor():
    report = json.loads(installed("plsc-doctor", "--json", "--seconds", "1").stdout)
    assert report["ready"]
    assert report["training"]["last_loss"] < report["training"]["first_loss"]
    assert report["versions"]["paddlepaddle"] and report["cores"] >= 1
