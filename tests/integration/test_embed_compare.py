"""plsc-embed and plsc-compare as a user runs them, with anyone's model and with plsc's own."""

import json

import cv2
import numpy as np
import pytest
import yaml
from commands import installed
from onnx_models import convolution
from refusals import error_line
from small_runs import forked

from plsc.cli import compare, embed
from plsc.recognition.embedder import Embedder

MAIN = {"plsc-embed": embed.main, "plsc-compare": compare.main}
THRESHOLDS = {"set": "lfw", "flip": False, "far": {"1e-3": {"cosine": 0.99}, "1e-1": {"cosine": 0}}}


@pytest.fixture
def refused(monkeypatch, capsys):
    """The one line that a mistake ends in; in this process, which saves seconds."""

    def refused(name, *arguments, cwd):
        monkeypatch.chdir(cwd)
        status = MAIN[name]([str(part) for part in arguments])
        said = capsys.readouterr()
        assert status == 2 and not said.out, said
        return error_line(said.err, name)

    return refused


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, and faces of three people in folders."""
    folder = tmp_path_factory.mktemp("embed")
    convolution(folder / "model.onnx", thresholds=json.dumps(THRESHOLDS))
    random = np.random.default_rng(1)
    for person in range(3):
        (folder / "faces" / f"p{person}").mkdir(parents=True)
        base = cv2.resize(random.integers(0, 256, (7, 7, 3), np.uint8), (112, 112)).astype(float)
        for number in range(10):
            face = (base + random.normal(0, 20, base.shape)).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / "faces" / f"p{person}" / f"{number}.png"), face)
    cv2.imwrite(str(folder / "photo.png"), random.integers(0, 256, (200, 150, 3), np.uint8))
    return folder


def faces_of(place):
    return sorted((place / "faces").rglob("*.png"))


def test_a_folder_of_identities(place, tmp_path, refused):
    done = installed("plsc-embed", place / "model.onnx", place / "faces", cwd=tmp_path)
    assert "embeddings.npy: 30 embeddings of 64, float32" in done.stdout
    assert "mean and std: 127.5 and 127.5, assumed" in done.stderr
    found = np.load(tmp_path / "embeddings.npy")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(
        found, Embedder(place / "model.onnx").embed_files(faces_of(place))
    )
    lines = (tmp_path / "embeddings.index.tsv").read_text().splitlines()
    assert lines[0] == "row\tpath\tlabel\terror"
    assert lines[1] == "0\tp0/0.png\t0\t" and lines[30] == "29\tp2/9.png\t2\t"

    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    done = forked("plsc-embed", place / "model.onnx", place / "faces", cwd=tmp_path)
    assert "it was there already" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    error = refused(
        "plsc-embed", place / "model.onnx", place / "faces", "--normalise", cwd=tmp_path
    )
    assert "embeddings.npy: exists, of another model, source or options: name another" in error
    options = ["--flip", "sum", "--normalise", "--overwrite", "--json"]
    done = forked("plsc-embed", place / "model.onnx", place / "faces", *options, cwd=tmp_path)
    report = json.loads(done.stdout)
    assert (report["num_images"], report["dim"], report["num_skipped"]) == (30, 64, 0)
    embedder = Embedder(place / "model.onnx")
    summed = found + embedder.embed_files(faces_of(place), flip=True)
    expected = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    np.testing.assert_allclose(np.load(tmp_path / "embeddings.npy"), expected, rtol=1e-5, atol=1e-7)


def test_other_sources_give_the_same_rows(place, tmp_path):
    """Record files, lists, loose files; any batch size and number of workers, a fixed batch."""
    forked("plsc-data", "pack", place / "faces", tmp_path / "packed", cwd=tmp_path)
    forked("plsc-data", "unpack", tmp_path / "packed", tmp_path / "listed", cwd=tmp_path)
    convolution(tmp_path / "fixed.onnx", batch=4)
    expected = Embedder(place / "model.onnx").embed_files(faces_of(place))
    cases = [
        (place / "model.onnx", tmp_path / "packed" / "train.rec", "--batch-size", 7),
        (place / "model.onnx", tmp_path / "listed", "--num-workers", 3),
        (place / "model.onnx", tmp_path / "listed" / "images", "--num-workers", 0),
        (tmp_path / "fixed.onnx", tmp_path / "packed", "--batch-size", 6),
    ]
    for number, arguments in enumerate(cases):
        forked("plsc-embed", *arguments, "--out", f"{number}.npy", cwd=tmp_path)
        found = np.load(tmp_path / f"{number}.npy")
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        lines = (tmp_path / f"{number}.index.tsv").read_text().splitlines()[1:]
        labels = [line.split("\t")[2] for line in lines]
        assert labels == ([""] * 30 if number == 2 else [str(row // 10) for row in range(30)])


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(place, tmp_path, refused, killed_at_image):
    faces = tmp_path / "faces"
    for number, path in enumerate(faces_of(place)):
        faces.mkdir(exist_ok=True)
        (faces / f"{number:02d}.png").write_bytes(path.read_bytes())
    arguments = [place / "model.onnx", faces, "--batch-size", "4", "--num-workers", "1"]
    forked("plsc-embed", *arguments, "--out", "whole.npy", cwd=tmp_path)
    kept = killed_at_image(
        "plsc.cli.embed", arguments, out="killed.npy", image=faces / "17.png", done=16
    )
    error = refused("plsc-embed", *arguments, "--out", "killed.npy", "--resize", cwd=tmp_path)
    assert "killed.npy.partial: was begun with another model, source or options" in error
    done = forked("plsc-embed", *arguments, "--out", "killed.npy", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["num_present_before"] == 16
    for ending in ("npy", "index.tsv"):
        found = (tmp_path / f"killed.{ending}").read_bytes()
        assert found == (tmp_path / f"whole.{ending}").read_bytes()
    assert not kept.exists()


def test_images_that_cannot_be_used(place, tmp_path, refused):
    faces = tmp_path / "faces"
    faces.mkdir()
    for number, path in enumerate(faces_of(place)[:3]):
        (faces / f"{number}.png").write_bytes(path.read_bytes())
    (faces / "1.png").write_bytes(b"no image")
    (faces / "3.png").write_bytes((place / "photo.png").read_bytes())
    arguments = [place / "model.onnx", faces]
    error = refused("plsc-embed", *arguments, cwd=tmp_path)
    assert "1.png: cannot be decoded as an image" in error
    done = forked(
        "plsc-embed", *arguments, "--on-bad", "skip", "--json", "--overwrite", cwd=tmp_path
    )
    assert json.loads(done.stdout)["num_skipped"] == 2
    found = np.load(tmp_path / "embeddings.npy")
    assert np.isnan(found).all(axis=1).tolist() == [False, True, False, True]
    assert np.isfinite(found[[0, 2]]).all()
    lines = (tmp_path / "embeddings.index.tsv").read_text().splitlines()
    assert "cannot be decoded" in lines[2] and "is 150x200" in lines[4]
    options = ["--on-bad", "skip", "--resize", "--out", "r.npy"]
    done = forked("plsc-embed", *arguments, *options, cwd=tmp_path)
    assert "rows of NaN: 1; the index says" in done.stdout
    resized = cv2.resize(
        cv2.imread(str(place / "photo.png"))[..., ::-1], (112, 112), interpolation=cv2.INTER_AREA
    )
    expected = Embedder(place / "model.onnx").embed(resized[None])[0]
    np.testing.assert_allclose(np.load(tmp_path / "r.npy")[3], expected, rtol=1e-5, atol=1e-5)


def test_compare(place, tmp_path):
    first, other, stranger = (
        str(place / "faces" / name) for name in ("p0/0.png", "p0/1.png", "p1/0.png")
    )
    model = place / "model.onnx"
    done = installed("plsc-compare", model, first, first, cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "cosine 1.0000   squared L2 0.0000   angle 0.00 degrees",
        "",
        "FAR   threshold  verdict",
        "1e-1     0.0000  same person",
        "1e-3     0.9900  same person",
        "thresholds measured on lfw; on other photos rates differ",
    ]
    done = forked(
        "plsc-compare", model, first, stranger, "--threshold", "-1", "--json", cwd=tmp_path
    )
    report = json.loads(done.stdout)
    rows = Embedder(model).embed_files([first, stranger]).astype(np.float64)
    cosine = rows[0] @ rows[1] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[1])
    assert report["cosine"] == pytest.approx(cosine, abs=1e-6)
    assert report["squared_distance"] == pytest.approx(2 - 2 * cosine, abs=1e-6)
    assert report["angle_degrees"] == pytest.approx(np.degrees(np.arccos(cosine)), abs=1e-4)
    verdicts = [(item["far"], item["same"]) for item in report["verdicts"]]
    assert verdicts == [("1e-1", True), ("1e-3", False), (None, True)]
    plain = convolution(tmp_path / "plain.onnx")
    flipped = forked("plsc-compare", plain, first, other, "--flip", "sum", "--json", cwd=tmp_path)
    embedder = Embedder(plain)
    rows = embedder.embed_files([first, other]) + embedder.embed_files([first, other], flip=True)
    cosine = rows[0] @ rows[1] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[1])
    assert json.loads(flipped.stdout)["cosine"] == pytest.approx(cosine, abs=1e-6)
    done = forked("plsc-compare", plain, first, other, cwd=tmp_path)
    assert "no verdict: the model carries no thresholds; --threshold T gives one" in done.stdout


def test_mistakes(place, tmp_path, refused):
    model, face, photo = place / "model.onnx", place / "faces" / "p0" / "0.png", place / "photo.png"

    def refused_pair(*arguments):
        return refused("plsc-compare", *arguments, cwd=tmp_path)

    error = refused_pair(model, face, photo)
    assert "photo.png: is 150x200 (width x height), the model takes 112x112: cosines of" in error
    assert "plsc-data align" in error and "--resize" in error
    done = forked("plsc-compare", model, face, photo, cwd=tmp_path, status=2)
    assert error in done.stderr
    forked("plsc-compare", model, face, photo, "--resize", cwd=tmp_path)
    assert "--threshold is a cosine, from -1 to 1, got 30.0" in refused_pair(
        model, face, face, "--threshold", "30"
    )
    assert "thresholds were measured with --flip none: leave it out" in refused_pair(
        model, face, face, "--flip", "sum"
    )
    assert "missing.png: cannot be read: No such file" in refused_pair(model, face, "missing.png")
    assert "--mean takes one number or three, got 2" in refused_pair(
        model, face, face, "--mean", 1, 2
    )
    embedding = ["plsc-embed", model, place / "faces"]
    for options, words in (
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--out", "faces.csv"], "--out must end in .npy, got 'faces.csv'"),
        (["--provider", "cuda"], "provider cuda: this onnxruntime has"),
    ):
        assert words in refused(*embedding, *options, cwd=tmp_path)
    assert "nowhere: no such file or folder" in refused(
        "plsc-embed", model, "nowhere", cwd=tmp_path
    )
    assert not list(tmp_path.iterdir())


def test_own_checkpoint_and_exports_agree(run, tiny_faces):
    """What training and export write is enough: no config, no numbers, three forms, one cosine."""
    transforms = run.config["DataLoader"]["Train"]["dataset"]["transform_ops"]
    transforms[0]["DecodeImage"]["to_rgb"] = False
    run("train", "Global.epochs=1")
    weights = f"Global.pretrained_model={run.output / 'latest'}"
    said = run("export", weights).stdout
    run("export", weights, "Export.export_type=paddle")
    exported = run.output.with_name(run.output.name + ".onnx")
    assert "opset 17, input [N, 3, 112, 112], output [N, 32]" in said and "ms at batch 1" in said
    info = Embedder(exported).info
    assert (info.colour_order, info.dim, info.assumptions) == ("BGR", 32, ())
    assert yaml.safe_load(info.config)["Model"]["name"] == run.output.name
    pair = [tiny_faces / "0.png", tiny_faces / "1.png"]
    cosines = []
    for model in (exported, run.output / "latest", run.output):
        done = forked("plsc-compare", model, *pair, "--json", cwd=run.folder)
        cosines.append(json.loads(done.stdout)["cosine"])
        assert not done.stderr
    assert np.ptp(cosines) < 1e-5
