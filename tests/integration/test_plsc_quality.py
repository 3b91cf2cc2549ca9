"""plsc-quality as a user runs it: killed and resumed, beside plsc-embed, and what exports carry."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
from commands import installed, python
from onnx_models import convolution

from plsc.cli import quality as command
from plsc.recognition.embedder import Embedder


def magnitudes_of(path):
    with open(path, newline="") as file:
        return np.array([float(row["magnitude"]) for row in csv.DictReader(file)])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A network of the kind that insightface exports, and noisy faces."""
    folder = tmp_path_factory.mktemp("quality")
    random = np.random.default_rng(0)
    convolution(folder / "model.onnx")
    (folder / "faces").mkdir()
    for number in range(24):
        noise = random.normal(128, 5 + 3 * number, (112, 112, 3)).clip(0, 255)
        cv2.imwrite(str(folder / "faces" / f"{number:02d}.png"), noise.astype(np.uint8))
    return folder


def test_magnitudes_are_the_lengths_of_embeddings(place, tmp_path):
    done = installed("plsc-quality", place / "model.onnx", place / "faces", cwd=tmp_path)
    assert "quality.csv: 24 images" in done.stdout and "these images: faces, 24" in done.stdout
    assert "note: no calibration: percentiles and scores are relative" in done.stderr
    installed("plsc-embed", place / "model.onnx", place / "faces", cwd=tmp_path)
    rows = np.load(tmp_path / "embeddings.npy").astype(np.float64)
    found = magnitudes_of(tmp_path / "quality.csv")
    np.testing.assert_allclose(found, np.linalg.norm(rows, axis=1), rtol=1e-6)
    files = sorted((place / "faces").iterdir())
    options = ["--json", "--sheet", "sheet.png"]
    done = installed("plsc-quality", place / "model.onnx", *files, *options, cwd=tmp_path)
    report = json.loads(done.stdout)
    assert report["best"][-1]["path"] == str(files[int(found.argmax())])
    assert report["worst"][0]["magnitude"] == pytest.approx(found.min(), rel=1e-6)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[1] > sheet.shape[0] > 300
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        *("quality.csv", "quality.about.json", "sheet.png"),
        *("embeddings.npy", "embeddings.json", "embeddings.index.tsv"),
    }


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(place, tmp_path, killed_at_image):
    faces = shutil.copytree(place / "faces", tmp_path / "faces")
    arguments = [place / "model.onnx", faces, "--batch-size", "4", "--num-workers", "1"]
    installed("plsc-quality", *arguments, "--out", "whole.csv", cwd=tmp_path)
    kept = killed_at_image(
        "plsc.cli.quality", arguments, out="killed.csv", image=faces / "17.png", done=16
    )
    done = installed("plsc-quality", *arguments, "--out", "killed.csv", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["num_present_before"] == 16
    assert (tmp_path / "killed.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not kept.exists()


def test_a_calibration_goes_along_where_it_holds(run, small_checkpoint, tiny_faces, monkeypatch):
    """Stored in a checkpoint; carried by its exports; stored anew in each of those."""
    monkeypatch.chdir(run.folder)
    latest = shutil.copytree(small_checkpoint, run.folder / "latest")

    def calibrate(model, *images):
        arguments = [model, *images, "--calibrate", "--num-workers", "0"]
        assert command.main([str(part) for part in arguments]) == 0
        return Embedder(model).info.calibration

    stored = calibrate(latest, tiny_faces)
    assert (stored.num_images, stored.set_name) == (22, tiny_faces.name)
    state = json.loads((latest / "state.json").read_text())
    assert state["quality"]["num_images"] == 22 and state["step"] == 2
    lengths = np.linalg.norm(
        Embedder(latest).embed_files([tiny_faces / f"{i}.png" for i in range(22)]), axis=1
    )
    expected = np.percentile(lengths.astype(np.float64), [25, 75])
    np.testing.assert_allclose(stored.scores(expected), [25, 75], atol=1e-3)
    weights = f"Global.pretrained_model={latest}"
    own = run.output.with_name(run.output.name + ".onnx")
    run("export", weights)
    assert Embedder(own).info.calibration == stored
    run("export", weights, "Export.export_type=paddle")
    assert Embedder(run.output).info.calibration == stored
    some = [tiny_faces / f"{i}.png" for i in range(12)]
    for model in (own, run.output):
        again = calibrate(model, *some, "--out", f"{model.suffix}.some.csv")
        assert again.num_images == 12 and again != stored
    done = run("export", weights, "Export.preprocessing=nhwc")
    assert "quality calibration left out: embeddings of length 1 say nothing" in done.stdout
    assert Embedder(own).info.calibration is None
    assert command.main([str(part) for part in (own, tiny_faces, "--out", "unit.csv")]) == 2


def test_onnx_models_need_no_paddle(place, tmp_path):
    code = (
        "import sys\nsys.modules['paddle'] = None\nfrom plsc.cli import quality as command\n"
        "sys.exit(command.main())"
    )
    python("-c", code, place / "model.onnx", place / "faces", cwd=tmp_path)
