"""Plug-ins from a folder outside of the package: the documents' example by the public commands."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import installed
from onnx_models import outputs
from places import ROOT
from refusals import error_line
from small_runs import forked

# Says how and where it is imported, and which processes transform.
MY_DATA = """
import os
import sys

import numpy as np

from plsc.config.registry import DATASETS, TRANSFORMS
from plsc.recognition.datasets.face import FaceIdentificationDataset

def note(name, text):
    with open(name, "a") as file:
        file.write(f"{text}\\n")

note("imported", f"{'paddle' in sys.modules} {os.environ.get('OMP_NUM_THREADS')}")

@DATASETS.register
class OneFewer(FaceIdentificationDataset):
    def __init__(self, image_root: str, cls_label_path: str, transform_ops: list, left_out: int):
        super().__init__(image_root, cls_label_path, transform_ops)
        self.left_out = left_out

    def __len__(self):
        return super().__len__() - self.left_out

@TRANSFORMS.register
class Darken:
    def __init__(self, by: int = 10):
        self.by = by

    def __call__(self, sample, rng):
        note("transformed", os.getpid())
        return {**sample, "image": np.maximum(sample["image"], self.by) - self.by}
"""


@pytest.fixture
def run(run):
    """`run` with the documents' plug-ins, and another with a data set and a transform."""
    examples = (ROOT / "docs" / "extend" / f"my_{part}.py" for part in ("backbone", "loss"))
    text = "\n".join(example.read_text(encoding="utf-8") for example in examples)
    (run.folder / "my_parts.py").write_text(text)
    (run.folder / "my_data.py").write_text(MY_DATA)
    run.config["Global"]["plugins"] = ["my_parts", "my_data"]
    run.config["Model"] |= {"name": "TinyNet", "width": 4}
    run.config["Loss"]["Train"] = [{"FlatMargin": {"m": 0.3, "s": 16.0}}]
    train = run.config["DataLoader"]["Train"]
    train["dataset"] |= {"name": "OneFewer", "left_out": 2}
    train["dataset"]["transform_ops"].insert(1, {"Darken": {"by": 30}})
    train["loader"]["num_workers"] = 2
    run.output = run.output.with_name("TinyNet")
    return run


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_train_resume_evaluate_export_embed(run, tiny_faces):
    run.config["Global"] |= {"eval_during_train": True, "epochs": 2}
    run("train")
    log = (run.output / "train.log").read_text()
    place = run.folder / "my_parts.py"
    assert f"plug-in my_parts ({place}): backbone TinyNet, loss FlatMargin" in log
    assert "dataset OneFewer, transform Darken" in log
    assert "20 images, global batch 2" in log and "estimate for a rank: about" in log
    assert len(set(lines(run.folder / "transformed"))) == 2, "two workers have transformed"
    losses = run.losses()
    whole = (run.output / "latest" / "backbone.safetensors").read_bytes()

    elsewhere = f"Global.output_dir={run.folder / 'resumed'}"
    again = run.folder / "resumed" / "TinyNet"
    run("train", elsewhere, "Global.max_train_step=7")
    run("train", elsewhere, f"Global.checkpoint={again / 'latest'}")
    assert (again / "latest" / "backbone.safetensors").read_bytes() == whole
    assert losses.keys() == set(range(1, 21))

    weights = f"Global.pretrained_model={run.output / 'latest'}"
    done = run("eval", weights)
    assert "accuracy-flip" in done.stdout
    run("export", weights)
    run("export", weights, "Export.export_type=paddle")
    pictures = tiny_faces
    checkpoint = run.output / "latest"
    embedding = "plsc-embed", checkpoint, pictures / "label.txt", "--plugins", "my_parts"
    installed(*embedding, "--out", "embeddings.npy", cwd=run.folder)
    found = np.load(run.folder / "embeddings.npy")

    import cv2

    images = [cv2.imread(str(pictures / f"{i}.png"))[..., ::-1] for i in range(22)]
    data = ((np.stack(images).transpose(0, 3, 1, 2) - 127.5) / 127.5).astype(np.float32)
    np.testing.assert_allclose(outputs(run.output.with_suffix(".onnx"), data), found, atol=1e-4)


def test_two_ranks_import_once_each_after_the_environment_is_set(run, monkeypatch):
    monkeypatch.setenv("PLSC_NUM_THREADS", "3")  # the launcher says 1
    run.config["Global"]["max_train_step"] = 3
    run("train", size=2)
    log = (run.output / "train.log").read_text()
    assert "2 process(es)" in log and "Traceback" not in log
    assert sorted(run.losses()) == [1, 2, 3]
    # Not in the processes that only supervise.
    assert lines(run.folder / "imported") == ["True 3"] * 2


def test_a_checkpoint_imports_nothing_by_itself(run, tmp_path_factory):
    run("train", "Global.max_train_step=1", "DataLoader.Train.loader.num_workers=0")
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(run.output / "step_1", folder / "model")
    for name in ("my_parts", "my_data"):
        (folder / f"{name}.py").write_text("open('imported', 'w').close()\n")
    written = "model: there is no backbone TinyNet here: the checkpoint was written with plug-ins "
    picture = next(Path(run.config["DataLoader"]["Train"]["dataset"]["image_root"]).glob("*.png"))
    for name, *arguments in (
        ("plsc-embed", "model", picture.parent, "--out", "x.npy"),
        ("plsc-eval", "--model", "model", "--pairs", picture.parent / "pairs.txt"),
        ("plsc-compare", "model", picture, picture),
    ):
        line = error_line(forked(name, *arguments, cwd=folder, status=2).stderr, name)
        assert line == (
            f"{written}my_parts, my_data: name them with --plugins my_parts "
            "--plugins my_data, in Python with plugins=['my_parts', 'my_data']"
        )

    del run.config["Global"]["plugins"]
    config = run.arguments("eval")[2]
    keys = {"train": "checkpoint", "eval": "pretrained_model", "export": "checkpoint"}
    for name, key in keys.items():
        options = "-c", config, "-o", f"Global.{key}=model"
        said = forked(f"plsc-{name}", *options, cwd=folder, status=2).stderr
        line = error_line(said, f"plsc-{name}")
        assert line.startswith(f"{written}my_parts, my_data: name them with ")
        assert "-o Global.plugins=[my_parts,my_data]" in line
    assert not (folder / "imported").exists()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "Model.widht=3",
            "Model.widht: unknown key; did you mean 'width'? (TinyNet is defined by plug-in "
            "my_parts)",
        ),
        (
            "DataLoader.Train.dataset.left_out=None",
            "left_out must be a whole number, got None (OneFewer is defined by plug-in my_data)",
        ),
    ],
)
def test_one_line_for_a_mistake(run, override, line):
    assert line in run.refused("train", override)


def test_two_ranks_without_the_plugin_end_with_its_line(run):
    done = run("train", "Global.plugins=[my_part]", size=2, check=False)
    assert done.returncode
    logs = [path.read_text() for path in sorted((run.folder / "log").glob("workerlog.*"))]
    assert len(logs) == 2
    for log in logs:
        assert "plsc-train: error: Global.plugins: there is no module 'my_part'" in log
        assert 'File "' not in log  # paddle writes a traceback of its own where a rank is ended
