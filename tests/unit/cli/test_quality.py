"""plsc-quality with a network whose magnitude is known: the length of the mean colour."""

import csv
import json
import shutil

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from refusals import error_line

from plsc.cli import quality as command
from plsc.inference.quality_calibration import Calibration
from plsc.quality import magnitudes
from plsc.quality.quality_table import read_quality_table
from plsc.recognition.embedder import Embedder

PIXELS = ["--mean", "0", "--std", "1", "--colour-order", "RGB"]
GREYS = np.random.default_rng(2).permutation(np.arange(20, 220, 5))


def write_model(path, *, normalised=False):
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("LpNormalization", ["flat"], ["unit"], axis=1, p=2),
        helper.make_node("Identity", ["unit" if normalised else "flat"], ["e"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 112, 112])],
        [helper.make_tensor_value_info("e", TensorProto.FLOAT, ["N", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def write_face(path, grey):
    cv2.imwrite(str(path), np.full((112, 112, 3), grey, np.uint8))
    return path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in: model.onnx, and faces/ of known grey."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model.onnx")
    (tmp_path / "faces").mkdir()
    for number, grey in enumerate(GREYS):
        write_face(tmp_path / "faces" / f"{number:02d}.png", grey)
    return tmp_path


@pytest.fixture
def quality(place, capsys):
    """Runs the command; its report, and the notes on standard error."""

    def run(*arguments, model="model.onnx"):
        texts = [str(part) for part in (model, *arguments, *PIXELS, "--num-workers", 0, "--json")]
        status = command.main(texts)
        said = capsys.readouterr()
        assert status == 0, said.err
        notes = [line for line in said.err.splitlines() if line.startswith("note: ")]
        return json.loads(said.out), notes

    return run


@pytest.fixture
def refused(place, capsys):
    """The one line that a mistake ends in."""

    def run(*arguments, model="model.onnx", options=PIXELS):
        texts = [str(part) for part in (model, *arguments, *options, "--num-workers", 0)]
        assert command.main(texts) == 2
        said = capsys.readouterr()
        assert not said.out
        return error_line(said.err, "plsc-quality")

    return run


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def column(path, name):
    return np.array([float(row[name]) for row in rows_of(path)])


def test_the_csv(place, quality):
    report, notes = quality("faces")
    magnitudes = GREYS * np.sqrt(3)
    assert [row["path"] for row in rows_of("quality.csv")] == [
        f"{number:02d}.png" for number in range(40)
    ]
    np.testing.assert_allclose(column("quality.csv", "magnitude"), magnitudes, rtol=1e-6)
    own = Calibration.fit(magnitudes)
    np.testing.assert_allclose(column("quality.csv", "score"), own.scores(magnitudes), atol=0.01)
    np.testing.assert_allclose(
        column("quality.csv", "percentile"), own.percentiles(magnitudes), atol=0.01
    )
    assert {row["error"] for row in rows_of("quality.csv")} == {""}
    assert notes == [notes[0]] and "relative to these 40 images; run --calibrate" in notes[0]
    assert (report["num_images"], report["output"]) == (40, "quality.csv")
    order = [f"{number:02d}.png" for number in np.argsort(GREYS)]
    assert [row["path"] for row in report["worst"]] == order[:5]
    assert [row["path"] for row in report["best"]] == order[-5:]
    assert report["magnitude"]["50"] == pytest.approx(np.median(magnitudes))
    assert not (place / "quality.csv.partial").exists()


def test_the_same_again_touches_nothing_and_runs_nothing(place, quality, monkeypatch):
    quality("faces")
    before = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}
    monkeypatch.setattr(command, "embed_into", None)
    report, _ = quality("faces")
    assert report["num_present_before"] == 40
    assert {path.name: path.stat().st_mtime_ns for path in place.iterdir()} == before


def test_another_calibration_scores_what_is_measured(place, quality, monkeypatch, refused):
    quality("faces")
    relative = column("quality.csv", "score")
    reference = Calibration.fit(np.linspace(100, 120, 50), set_name="narrow")
    (place / "c.json").write_text(json.dumps(reference.to_dict()))
    monkeypatch.setattr(command, "embed_into", None)
    report, notes = quality("faces", "--calibration", "c.json")
    found = column("quality.csv", "score")
    np.testing.assert_allclose(found, reference.scores(GREYS * np.sqrt(3)), atol=0.01)
    assert report["relative_to"] == {"origin": "file", "set": "narrow", "num_images": 50}
    assert not notes and np.abs(found - relative).max() > 5
    quality("faces")
    np.testing.assert_array_equal(column("quality.csv", "score"), relative)


def test_what_is_learned_stays_with_the_model(place, quality, refused):
    digest = Embedder("model.onnx").digest
    report, notes = quality("faces", "--calibrate", "--out", "reference.csv")
    assert report["stored_in"] == str(place / "model.onnx")
    assert "40 images are few for a calibration" in notes[0] and len(notes) == 1
    model = Embedder("model.onnx")
    assert model.digest == digest and model.info.calibration.set_name == "faces"
    assert model.info.calibration.prepared["mean"] == (0.0,) * 3
    report, notes = quality("faces/03.png", "faces/11.png", "faces/07.png")
    assert report["relative_to"]["origin"] == "model" and not notes
    expected = column("reference.csv", "score")
    found = {row["path"]: row["score"] for row in report["worst"]}
    for number in (3, 7, 11):
        assert found[f"faces/{number:02d}.png"] == pytest.approx(expected[number], abs=0.01)
    before = (place / "model.onnx").stat().st_mtime_ns
    quality("faces", "--calibrate", "--out", "reference.csv")
    assert (place / "model.onnx").stat().st_mtime_ns == before
    (place / "faces" / "40.png").write_bytes((place / "faces" / "01.png").read_bytes())
    _, notes = quality("faces", "--calibrate", "--out", "more.csv")
    assert "note: replaces the calibration of faces (40 images)" in notes
    error = refused("faces", "--out", "x.csv", options=["--mean", "9", *PIXELS[2:]])
    assert "calibration was made with --mean 0, the images are prepared with 9: give" in error


def test_a_calibration_file_leaves_the_model_as_it_is(place, quality, refused, monkeypatch):
    before = (place / "model.onnx").read_bytes()
    report, _ = quality("faces", "--calibrate", "--calibration", "c.json")
    assert report["stored_in"] == "c.json" and (place / "model.onnx").read_bytes() == before
    written = (place / "c.json").read_bytes()
    quality("faces", "--calibrate", "--calibration", "c.json")
    assert (place / "c.json").read_bytes() == written
    faces = [f"faces/{number:02d}.png" for number in range(30)]
    with monkeypatch.context() as patch:  # before hours of work
        patch.setattr(command, "embed_into", None)
        for images in (faces, ["faces", "--resize", "--out", "other.csv"]):
            error = refused(*images, "--calibrate", "--calibration", "c.json")
            assert error.startswith("c.json: exists, of another model, source or options: name an")
    assert (place / "c.json").read_bytes() == written
    quality(*faces, "--calibrate", "--calibration", "c.json", "--overwrite")
    assert json.loads((place / "c.json").read_text())["set"] == "30 image files"
    write_model(place / "other.onnx", normalised=True)
    error = refused("faces", "--calibration", "c.json", "--overwrite", model="other.onnx")
    assert "embeddings of length 1, which say nothing of quality; export it" in error


def test_a_calibration_of_images_that_were_exchanged_is_not_replaced(place, quality, refused):
    quality("faces", "--calibrate", "--calibration", "c.json")
    written = (place / "c.json").read_bytes()
    write_face(place / "faces" / "01.png", 250)
    error = refused("faces", "--calibrate", "--calibration", "c.json", "--out", "new.csv")
    assert error.startswith("c.json: exists and holds another calibration")
    assert (place / "c.json").read_bytes() == written


def test_a_file_of_another_model_is_noted(place, quality):
    quality("faces", "--calibrate", "--calibration", "c.json")
    content = json.loads((place / "c.json").read_text())
    content["model"] = {"path": "theirs.onnx", "digest": "0"}
    (place / "c.json").write_text(json.dumps(content))
    _, (note,) = quality("faces", "--calibration", "c.json")
    assert "c.json: was made with another model file, 'theirs.onnx'" in note


def test_a_picture_that_is_no_sheet_is_not_replaced(place, quality, refused, monkeypatch):
    mine = write_face(place / "mine.png", 40).read_bytes()
    (place / "empty.png").write_bytes(b"")
    (place / "nowhere.png").symlink_to("gone")
    with monkeypatch.context() as patch:
        patch.setattr(command, "embed_into", None)
        for name in ("mine.png", "empty.png"):
            error = refused("faces", "--sheet", name)
            assert error.startswith(f"{name}: exists and is not a sheet of plsc-quality: choose")
        assert refused("faces", "--sheet", "nowhere.png").startswith("nowhere.png: cannot be read")
    assert (place / "mine.png").read_bytes() == mine
    few = "faces/00.png", "faces/01.png", "--sheet"
    quality(*few, "mine.png", "--overwrite")
    (place / "sheet.png").write_bytes((place / "mine.png").read_bytes())
    quality("faces", "--sheet", "sheet.png")
    sheets = [cv2.imread(name).shape for name in ("sheet.png", "mine.png")]
    assert sheets[0][0] > sheets[1][0]


@pytest.mark.parametrize("count", [1, 3])
def test_few_images_have_magnitudes_alone(count, place, quality):
    report, (note,) = quality(*[f"faces/{number:02d}.png" for number in range(count)])
    assert len(report["worst"]) == count and report["best"] == [] and report["output"] is None
    assert all(row["percentile"] is None and row["score"] is None for row in report["worst"])
    lengths = sorted(row["magnitude"] for row in report["worst"])
    np.testing.assert_allclose(lengths, np.sort(GREYS[:count]) * np.sqrt(3), rtol=1e-6)
    assert "too few to compare" in note
    assert not list(place.glob("*.csv*"))
    quality("faces/00.png", "--out", "one.csv")
    (row,) = rows_of("one.csv")
    assert row["path"] == "faces/00.png" and row["score"] == row["percentile"] == ""


def test_a_list_is_called_by_its_folder(place, quality):
    lines = [f"{path.name}\t0\n" for path in sorted((place / "faces").iterdir())]
    for name, called in (("label.txt", "faces"), ("chosen.txt", "chosen.txt")):
        (place / "faces" / name).write_text("".join(lines))
        report, _ = quality(f"faces/{name}", "--out", f"{name}.csv")
        assert report["relative_to"]["set"] == called


def test_paths_of_any_kind(place, quality):
    names = ['a, "b"\n\udcff.png', "c\rd.png", "e\u2028f;g\t.png"]
    for name in names:
        write_face(place / "face.png", 90).rename(place / "faces" / name)
    quality("faces")
    with open("quality.csv", newline="", errors="surrogateescape") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert len(paths) == 43 and set(names) < set(paths)
    report, _ = quality("faces", "--sheet", "s.png")
    assert report["num_present_before"] == 43
    table = read_quality_table("magnitude", "quality.csv")
    assert list(table.values) == paths


def test_bad_images(place, quality, refused):
    (place / "faces" / "05.png").write_bytes(b"no image")
    cv2.imwrite(str(place / "faces" / "06.png"), np.zeros((50, 60, 3), np.uint8))
    assert "05.png: cannot be decoded" in refused("faces")
    report, _ = quality("faces", "--on-bad", "skip", "--overwrite", "--sheet", "s.png")
    assert (report["num_images"], report["num_skipped"]) == (40, 2)
    rows = rows_of("quality.csv")
    assert "cannot be decoded" in rows[5]["error"] and "is 60x50" in rows[6]["error"]
    assert {rows[5][name] for name in ("magnitude", "percentile", "score")} == {""}
    assert sum(row["error"] == "" and row["score"] != "" for row in rows) == 38
    report, _ = quality("faces", "--on-bad", "skip", "--resize", "--overwrite")
    assert report["num_skipped"] == 1
    write_face(place / "bad.png", 1).write_bytes(b"")
    error = refused("bad.png", "--on-bad", "skip")
    assert error.startswith("none of 1 images can be used: bad.png: the image is empty")


def test_what_is_there_is_not_replaced(place, quality, refused):
    quality("faces")
    write_face(place / "faces" / "41.png", 77)
    assert "quality.csv: exists, of another model, source or options" in refused("faces")
    assert "exists, of another" in refused("faces", "--resize")
    quality("faces", "--overwrite")
    assert len(rows_of("quality.csv")) == 41
    with open("quality.csv", "a") as file:
        file.write("mine\n")
    assert "quality.csv: was changed since it was written" in refused("faces")
    (place / "own.csv").write_text("mine\n")
    assert "own.csv: exists, of another" in refused("faces", "--out", "own.csv")
    assert (place / "own.csv").read_text() == "mine\n"


def test_files_are_known_by_place_and_time(place, quality, refused):
    files = "faces/00.png", "faces/01.png"
    quality(*files, "--out", "few.csv")
    report, _ = quality(*(place / name for name in files), "--out", "few.csv")
    assert report["num_present_before"] == 2
    write_face(place / "faces" / "01.png", 250)
    assert "few.csv: exists, of another" in refused(*files, "--out", "few.csv")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        (["nowhere.png"], "nowhere.png: no such file"),
        (["faces/00.png", "faces"], "faces: is a folder: give one folder, or image files"),
        (["faces/00.png", "model.onnx"], "model.onnx: is no image by its name"),
        (["empty"], "empty: holds no images"),
        (["faces", "--out", "x.tsv"], "--out must end in .csv, got 'x.tsv'"),
        (["faces", "--sheet", "x.jpg"], "--sheet must end in .png, got 'x.jpg'"),
        (["faces", "--sheet", "no/x.png"], "no/x.png: cannot be written"),
        (["faces", "--sheet", "faces/x.png"], "faces/x.png: lies among the images"),
        (["faces/00.png", "--sheet", "same/../faces/00.png"], "00.png: lies among the images"),
        (["faces", "--calibration", "c.json"], "c.json: the file cannot be read: No such file"),
        (["faces", "--calibration", "model.onnx"], "model.onnx: the file is damaged"),
        (["faces", "--calibration", "bad.json"], "bad.json: a quality calibration of version 1"),
        (["faces", "--calibrate", "--calibration", "no/c.json"], "no/c.json: cannot be written"),
        (["faces/00.png", "--calibrate"], "a calibration needs 10 images or more"),
        (["same"], "all 12 magnitudes are the same, 86.6025: .*copies of one image"),
        (["same", "--calibrate"], "all 12 magnitudes are the same"),
        (["faces", "--batch-size", "0"], "--batch-size must be at least 1, got 0"),
    ],
)
def test_mistakes_end_in_one_line(arguments, said, place, refused):
    (place / "empty").mkdir()
    (place / "same").mkdir()
    (place / "bad.json").write_text("{}")
    for number in range(12):
        write_face(place / "same" / f"{number}.png", 50)
    kept = [place / "model.onnx", place / "faces" / "00.png"]
    before = [path.read_bytes() for path in kept]
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(refused(*arguments))
    assert not list(place.glob("*.csv")) and [path.read_bytes() for path in kept] == before


def test_embeddings_of_length_one_stop_at_the_first_batch(place, refused, monkeypatch):
    write_model(place / "unit.onnx", normalised=True)
    kept = []
    monkeypatch.setattr(
        "plsc.files.resumable_rows.ResumableRows.append", lambda *rows: kept.append(rows)
    )
    error = refused("faces", "--batch-size", 10, model="unit.onnx")
    assert "all 10 magnitudes are the same, 1: the model gives embeddings of length 1" in error
    assert "Export.preprocessing=none" in error and not kept


@pytest.mark.parametrize(
    ("step", "calls", "again"),
    [
        ("csv_of", 0, False),
        ("write_output", 0, False),
        ("write_output", 1, False),
        ("shutil.rmtree", 0, False),
        ("write_output", 0, True),
        ("write_output", 1, True),
    ],
)
def test_killed_while_publishing(step, calls, again, place, quality, monkeypatch):
    """Whatever the moment, the next run makes the same of it, asks nobody and measures nothing."""
    reference = Calibration.fit(np.linspace(100, 120, 50))
    (place / "c.json").write_text(json.dumps(reference.to_dict()))
    quality("faces", "--out", "whole.csv")
    if again:  # it is scored anew when it is killed
        quality("faces", "--out", "out.csv", "--calibration", "c.json")
    real = shutil.rmtree if step == "shutil.rmtree" else getattr(magnitudes, step)
    left = iter(range(calls))

    def killed(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(f"plsc.quality.magnitudes.{step}", killed)
        assert command.main(["model.onnx", "faces", "--out", "out.csv", *PIXELS]) == 130
    if again:
        monkeypatch.setattr(command, "embed_into", None)
    report, _ = quality("faces", "--out", "out.csv")
    assert (place / "out.csv").read_bytes() == (place / "whole.csv").read_bytes()
    assert report["num_present_before"] == 40
    assert not (place / "out.csv.partial").exists()


def test_killed_while_it_replaces_another(place, quality, monkeypatch):
    """The next run does not take the old CSV for one that somebody has changed."""
    quality("faces")
    write_face(place / "faces" / "41.png", 77)
    real, left = magnitudes.write_output, iter(range(1))

    def killed(path, content):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(magnitudes, "write_output", killed)
        assert command.main(["model.onnx", "faces", "--overwrite", *PIXELS]) == 130
    report, _ = quality("faces")
    assert (report["num_images"], report["num_present_before"]) == (41, 41)


def test_evr_is_another_command(monkeypatch):
    from plsc.cli import quality_evr as evr_command

    monkeypatch.setattr(evr_command, "main", lambda argv: len(argv))
    assert command.main(["evr", "--model", "m"]) == 2


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    said = capsys.readouterr().out
    for text in ("plsc-quality evr --help", "Exit status: 0", "--calibrate", "ISO/IEC 29794-5"):
        assert text in said
