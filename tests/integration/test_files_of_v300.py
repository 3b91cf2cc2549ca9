"""Files that plsc 3.0.0 wrote: resumed, evaluated, loaded and exported to the figures they had.

`golden/v300` is small: the checkpoint after 3 of 9 steps of `config.yaml` on the faces of the
fixture `tiny_faces`, an ONNX file and a Paddle export of it, and what 3.0.0 gave (`expected.json`).
The larger set of real backbones is used where it is at hand.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from places import GOLDEN, ROOT, SHARED_DATA
from small_runs import World, metrics_of

SMALL, LARGE = GOLDEN / "v300", SHARED_DATA / "v300"
PLUGIN = "Global.plugins=[tiny_v300]"
TOLERANCE = 1e-6


def command(folder: Path, name: str, *arguments: str) -> None:
    """Run an installed command in `folder`, where plug-ins of the tests are found."""
    script = str(Path(sys.executable).with_name(f"plsc-{name}"))
    paths = f"{ROOT}:{ROOT / 'tests'}"
    World(folder).run(1, script, *arguments, PYTHONPATH=paths, PLSC_NUM_THREADS="2")


def overrides(*items: str) -> list[str]:
    return [word for item in items for word in ("-o", item)]


def figures(path: Path) -> dict[str, float]:
    (found,) = json.loads(path.read_text())["sets"]
    accuracy = (found["accuracy_flip"] or found["accuracy"])["mean"]
    eer = found["eer"]["cosine"]
    return {"accuracy": accuracy, "xnorm": found["xnorm"], "auc": found["auc"], "eer_cosine": eer}


@pytest.fixture
def small(tmp_path, tiny_faces):
    """A folder to work in, with what 3.0.0 gave."""
    (tmp_path / "faces").symlink_to(tiny_faces)
    for path in SMALL.iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    return tmp_path, json.loads((SMALL / "expected.json").read_text())


def test_it_resumes_to_the_losses_of_the_straight_run(small):
    folder, expected = small
    given = overrides(PLUGIN, "Global.checkpoint=checkpoint")
    command(folder, "train", "-c", "config.yaml", *given)
    losses = {str(entry["step"]): entry["loss"] for entry in metrics_of(folder / "output/TinyNet")}
    assert sorted(losses) == ["4", "5", "6", "7", "8", "9"]
    for step, loss in losses.items():
        assert loss == pytest.approx(expected["losses"][step], rel=TOLERANCE), step


def test_it_evaluates_and_exports_to_the_same_figures(small):
    folder, expected = small
    given = overrides(PLUGIN, "Global.pretrained_model=checkpoint")
    command(folder, "eval", "-c", "config.yaml", *given, "--json", "found.json")
    assert figures(folder / "found.json") == pytest.approx(expected["checkpoint"], rel=TOLERANCE)
    command(folder, "export", "-c", "config.yaml", *given)
    found = embeddings(folder / "output/TinyNet.onnx")
    np.testing.assert_allclose(found, embeddings(folder / "TinyNet.onnx"), rtol=1e-5, atol=1e-6)


def embeddings(path: Path) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).uniform(-1, 1, (3, 3, 112, 112)).astype(np.float32)
    return session.run(None, {"data": images})[0]


@pytest.mark.parametrize(
    ("model", "kind"),
    [("TinyNet.onnx", "onnx"), ("TinyNet", "paddle"), ("checkpoint", "checkpoint")],
)
def test_models_give_the_same_figures(small, model, kind):
    folder, expected = small
    plugins = ["--plugins", "tiny_v300"] if kind == "checkpoint" else []
    given = ("--model", model, "--pairs", "faces/pairs.txt", "--json", "found.json", *plugins)
    command(folder, "eval", *given)
    assert figures(folder / "found.json") == pytest.approx(expected[kind], rel=TOLERANCE)


@pytest.mark.skipif(not LARGE.exists(), reason="the files of 3.0.0 (../shared/data) are not here")
def test_a_whole_backbone_of_v300(tmp_path):
    """Of `../shared/data/v300`: resumed from step 9 of 24, and evaluated."""
    shutil.copytree(LARGE, tmp_path / "v300")
    folder, expected = tmp_path / "v300", json.loads((LARGE / "expected.json").read_text())
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    checkpoint = "run/QuickFace_nano/step_9"
    more = ["Global.epochs=4", "Model.pfc_config.sample_ratio=0.5"]
    command(
        folder, "train", "-c", "base.yaml", *overrides(f"Global.checkpoint={checkpoint}", *more)
    )
    losses = {e["step"]: e["loss"] for e in metrics_of(folder / "out/QuickFace_nano")}
    assert sorted(losses) == list(range(10, 25))
    for step, loss in losses.items():
        assert loss == pytest.approx(expected["losses"][str(step)], rel=TOLERANCE), step
    command(
        folder, "eval", "-c", "base.yaml", "--json", "found.json",
        *overrides(f"Global.pretrained_model={checkpoint}"),
    )  # fmt: skip
    (found,) = json.loads((folder / "found.json").read_text())["sets"]
    wanted = expected["checkpoint"]
    assert found["accuracy"]["mean"] == wanted["accuracy"]["mean"]
    assert found["xnorm"] == pytest.approx(wanted["xnorm"], rel=TOLERANCE)
    assert found["auc"] == pytest.approx(wanted["auc"], rel=TOLERANCE)
