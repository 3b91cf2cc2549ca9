"""`plsc-quality evr` as a user calls it: sets, measures, several models, mistakes."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import installed
from onnx import helper
from onnx_models import images, vectors, write_model

from plsc.cli.quality import main
from plsc.recognition.embedder import Embedder

SIDE, DIM = 112, 24
PEOPLE, PAIRS = 12, 240


def network(path, *, normalised=False, weight_of=2, scale=1.0):
    """An ONNX network: pooled pixels times a random matrix, float NCHW in."""
    weight = np.random.default_rng(weight_of).standard_normal((3 * 14 * 14, DIM)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["x"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["raw"]),
    ]
    if normalised:
        nodes.append(helper.make_node("LpNormalization", ["raw"], ["y"], axis=1, p=2))
    made = vectors("y" if normalised else "raw", "N", DIM)
    weights = {"weight": scale * weight}
    write_model(path, nodes, given=images(name="x"), made=made, weights=weights, opset=17)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Blurred pictures of a few patterns as a list of pairs and as `.bin` files, and networks."""
    folder = tmp_path_factory.mktemp("evr")
    generator = np.random.default_rng(3)
    patterns = generator.normal(127, 45, (PEOPLE, 28, 28, 3))
    files, lines, issame = [], [], []
    (folder / "faces").mkdir()
    for pair in range(PAIRS):
        same = pair % 2 == 0
        first = int(generator.integers(PEOPLE))
        second = first if same else (first + int(generator.integers(1, PEOPLE))) % PEOPLE
        for side, person in enumerate((first, second)):
            picture = cv2.resize(patterns[person], (SIDE, SIDE))
            picture = cv2.GaussianBlur(picture, (0, 0), generator.uniform(0.5, 9))
            picture = (picture + generator.normal(0, 12, picture.shape)).clip(0, 255)
            files.append(cv2.imencode(".png", picture.astype(np.uint8))[1].tobytes())
            (folder / "faces" / f"{pair}_{side}.png").write_bytes(files[-1])
        lines.append(f"{pair}_0.png\t{pair}_1.png\t{int(same)}\n")
        issame.append(same)
    (folder / "blurred.tsv").write_text("".join(lines))
    (folder / "lfw.bin").write_bytes(pickle.dumps((files, issame)))
    (folder / "small.bin").write_bytes(pickle.dumps((files[:40], issame[:20])))
    (folder / "same.bin").write_bytes(pickle.dumps((files[:2] * 8, [True] * 8)))
    network(folder / "net.onnx")
    network(folder / "other.onnx", weight_of=5)
    network(folder / "unit.onnx", normalised=True)
    network(folder / "zero.onnx", scale=0.0)
    network(folder / "nan.onnx", scale=float("nan"))
    rows = [f"{i // 2}_{i % 2}.png,{i % 7}\n" for i in range(2 * PAIRS)]
    (folder / "mine.csv").write_text("path,mine\n" + "".join(rows))
    (folder / "short.csv").write_text("".join(rows[:100] + rows[101:]))
    (folder / "numbers.csv").write_text("".join(f"{i},{i % 7}\n" for i in range(2 * PAIRS)))
    return folder


def called(*arguments, place):
    texts = [str(argument).format(at=place) for argument in arguments]
    return main(["evr", *texts, "--num-workers", "0"])


def test_a_list_and_a_bin_say_the_same(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sets = "--pairs", "{at}/blurred.tsv", "--image-root", "{at}/faces"
    tables = "--csv", "mine={at}/mine.csv"
    assert called("{at}/net.onnx", *sets, *tables, "--fmr", "0.1", "1e-2", "1e-3", place=place) == 0
    said = capsys.readouterr()
    assert "blurred: 240 pairs, 120 impostors; images as they are" in said.out
    assert "FNMR % at FMR 1e-1, threshold re-estimated at each share" in said.out
    assert "blurred: embeddings of net" in said.err and "blurred" not in said.err.splitlines()[-1]
    folder = tmp_path / "error_reject"
    assert {path.name for path in folder.iterdir()} == {
        "blurred_evr.json", "blurred_evr.png", "blurred_evr.pdf",
    }  # fmt: skip
    assert "error_reject/blurred_evr.png" in said.out.splitlines()
    of_list = json.loads((folder / "blurred_evr.json").read_text())
    measures = ["magnitude", "sharpness", "brightness", "contrast", "random", "mine"]
    assert [c["measure"] for c in of_list["curves"][::6]] == measures

    tables = "--csv", "mine={at}/numbers.csv"
    bins = "--bin", "{at}/lfw.bin", "--fmr", "0.1", "1e-2", "1e-3"
    assert called("{at}/net.onnx", *bins, *tables, "--out", "b", "--json", place=place) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["files"] == [f"b/lfw_evr.{ending}" for ending in ("json", "png", "pdf")]
    (of_bin,) = said["sets"]
    assert of_bin["set"] == "lfw" and of_bin["curves"] == of_list["curves"]
    assert of_bin == json.loads(Path("b/lfw_evr.json").read_text())
    assert of_bin["models"][0]["name"] == "net" and of_bin["models"][0]["digest"]


def test_figures_by_other_means(place, tmp_path):
    """Magnitudes and angles from the embedder, the protocol in a few lines."""
    arguments = "--bin", "{at}/lfw.bin", "--measure", "magnitude", "--fmr", "1e-2"
    assert called("{at}/net.onnx", *arguments, "--out", tmp_path, place=place) == 0
    reestimated, fixed = json.loads((tmp_path / "lfw_evr.json").read_text())["curves"]
    names = [place / "faces" / f"{i // 2}_{i % 2}.png" for i in range(2 * PAIRS)]
    rows = Embedder(place / "net.onnx").embed_files(names).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    unit = rows / lengths[:, None]
    distances = np.arccos((unit[0::2] * unit[1::2]).sum(1)) / np.pi
    order = np.argsort(np.minimum(lengths[0::2], lengths[1::2]), kind="stable")
    same = np.arange(PAIRS) % 2 == 0
    first = np.sort(distances[~same])[int(int(119 / 10) / 10)]
    for curve in (reestimated, fixed):
        assert curve["ended"] is None or "FMR 1e-2 needs 11" in curve["ended"]
        for point in curve["points"]:
            kept = order[int(point["reject"] * PAIRS + 1e-6) :]
            impostors = np.sort(distances[kept][~same[kept]])
            place_of = int(int((len(impostors) - 1) / 10) / 10)
            threshold = first if curve is fixed else impostors[place_of]
            assert point["threshold"] == pytest.approx(threshold, abs=1e-6)
            genuine = distances[kept][same[kept]]
            assert point["fnmr"] == pytest.approx((genuine >= threshold - 1e-9).mean(), abs=1e-9)
    assert len(fixed["points"]) == 20


@pytest.mark.parametrize("name", ["magnitude", "sharpness", "random"])
def test_ones_own_table_may_be_called_as_a_measure_that_is_not_asked_for(name, place, tmp_path):
    curves = []
    for called_so in ("mine", name):
        asked = "contrast", "--csv", called_so + "={at}/numbers.csv"
        out = tmp_path / called_so
        bins = "--bin", "{at}/lfw.bin", "--fmr", "1e-2", "--out", out
        assert called("{at}/net.onnx", *bins, "--measure", *asked, place=place) == 0
        curves.append(json.loads((out / "lfw_evr.json").read_text())["curves"])
    mine, named = curves
    assert [curve["measure"] for curve in named] == ["contrast"] * 2 + [name] * 2
    assert [curve["points"] for curve in named] == [curve["points"] for curve in mine]


@pytest.mark.parametrize("kind", ["list", "bin"])
def test_scores_of_a_set_are_found_again(kind, place, tmp_path, monkeypatch, capsys):
    """What plsc-quality measures of a set is, as a table, its magnitude."""
    monkeypatch.chdir(tmp_path)
    given, sets = {
        "list": (["{at}/blurred.tsv", "--image_root", "{at}/faces"], LIST),
        "bin": (["{at}/lfw.bin"], BIN),
    }[kind]
    options = "--calibrate", "--sheet", "s.png", "--out", "q.csv", "--num-workers", "0"
    texts = [text.format(at=place) for text in ("{at}/net.onnx", *given, *options)]
    (tmp_path / "net.onnx").write_bytes((place / "net.onnx").read_bytes())
    assert main(["net.onnx", *texts[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_images"] == 2 * PAIRS
    assert main(["net.onnx", *texts[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_present_before"] == 2 * PAIRS
    text = Path("q.csv").read_text().replace("path,magnitude,", "path,length,", 1)
    Path("q.csv").write_text(text + "not/of/a/pair.png,,,,the image is empty\n")
    tables = "--csv", "length=q.csv", "score=q.csv"
    asked = "--measure", "magnitude", "--fmr", "1e-2", "--json"
    assert called("{at}/net.onnx", *sets, *tables, *asked, place=place) == 0
    (found,) = json.loads(capsys.readouterr().out)["sets"]
    magnitude, length, score = (found["curves"][at : at + 2] for at in (0, 2, 4))
    assert [curve["points"] for curve in magnitude] == [curve["points"] for curve in length]
    assert [curve["measure"] for curve in score] == ["score"] * 2 and score[0]["points"]


def test_several_models_with_names_of_ones_own(place, tmp_path, capsys):
    models = "First={at}/net.onnx", "{at}/other.onnx", "{at}/net.onnx"
    options = "--threshold", "fixed", "--fmr", "1e-2", "--measure", "magnitude", "random", "--json"
    assert called(*models, "--bin", "{at}/lfw.bin", *options, "--out", tmp_path, place=place) == 0
    (found,) = json.loads(capsys.readouterr().out)["sets"]
    assert [model["name"] for model in found["models"]] == ["First", "other", "net"]
    curves = {(c["model"], c["measure"]): c for c in found["curves"]}
    assert list(curves)[:2] == [("First", "magnitude"), ("First", "random")]
    assert curves["First", "random"]["points"] == curves["net", "random"]["points"]
    assert curves["First", "random"]["points"] != curves["other", "random"]["points"]


def test_distances_of_sums_with_the_mirrored_images(place, tmp_path, capsys):
    options = "--bin", "{at}/lfw.bin", "--fmr", "1e-2", "--measure", "magnitude", "--json"
    found = []
    for flip in ((), ("--flip",)):
        assert called("{at}/net.onnx", *options, *flip, "--out", tmp_path, place=place) == 0
        found += json.loads(capsys.readouterr().out)["sets"]
    plain, summed = found
    assert (plain["flip"], summed["flip"]) == (False, True)
    assert plain["curves"][0]["points"] != summed["curves"][0]["points"]
    # Magnitude stays that of the image as it is: the same pairs are rejected.
    counts = [[point["genuine"] for point in item["curves"][0]["points"]] for item in found]
    assert counts[0] == counts[1]


def test_a_checkpoint(small_checkpoint, tiny_faces, tmp_path, run):
    """The installed command on a trained network."""
    sets = ["--pairs", tiny_faces / "pairs.txt", "--fmr", "1e-1", "--num-workers", "0"]
    line = "evr", small_checkpoint, *sets, "--out", tmp_path
    done = installed("plsc-quality", *line, cwd=tmp_path)
    assert done.stdout.startswith(f"{tiny_faces.name}: 20 pairs, 10 impostors")
    assert (tmp_path / f"{tiny_faces.name}_evr.pdf").exists()
    name = small_checkpoint.parent.name
    about = json.loads((tmp_path / f"{tiny_faces.name}_evr.json").read_text())
    assert about["models"][0]["name"] == name == about["curves"][0]["model"]


def test_without_matplotlib(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("plsc.cli.quality_evr.can_draw", lambda: False)
    arguments = "--bin", "{at}/lfw.bin", "--fmr", "1e-2", "--out", tmp_path
    assert called("{at}/net.onnx", *arguments, place=place) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["lfw_evr.json"]
    assert "no plot: matplotlib is missing: pip install matplotlib" in capsys.readouterr().err


LIST = ["--pairs", "{at}/blurred.tsv", "--image-root", "{at}/faces"]
BIN = ["--bin", "{at}/lfw.bin"]
MISTAKES = [
    (["{at}/net.onnx"], "give a verification set: --bin FILE.bin, or --pairs LIST"),
    (["{at}/no.onnx", *BIN], "no.onnx: no such file"),
    (["{at}/net.onnx", "--bin", "no.bin"], "no.bin: no such file"),
    (["{at}/net.onnx", "--bin", "{at}/same.bin"], "same: an error-versus-reject curve needs pairs "
     "of both kinds, got 8 of one person and 0 of two"),
    (["{at}/net.onnx", "--bin", "{at}/small.bin", "--fmr", "1e-2", "1e-3"], "small: 10 impostor "
     "pairs give no threshold: FMR 1e-2 needs 11"),
    (["{at}/net.onnx", "{at}/unit.onnx", *BIN], "lfw: unit: magnitude: all 480 magnitudes are the "
     "same, 1: the model gives embeddings of length 1"),
    (["{at}/zero.onnx", *BIN], "lfw: zero: embeddings have collapsed"),
    (["{at}/nan.onnx", *BIN], "nan.onnx: gives NaN or infinity for {at}/lfw.bin: image 0"),
    (["{at}/net.onnx", *LIST, "--csv", "mine={at}/short.csv"], "blurred: {at}/short.csv: no row "
     "for 1 of 480 images, the first is 50_0.png or"),
    (["{at}/net.onnx", *BIN, "--csv", "{at}/mine.csv"], "--csv takes NAME=FILE"),
    (["{at}/net.onnx", *BIN, "--csv", "random={at}/numbers.csv"], "two measures have one name"),
    (["{at}/net.onnx", "--bin", "{at}/lfw.bin", "{at}/small.bin", "--csv", "m={at}/numbers.csv"],
     "numbers.csv: image 0 is in each of 2 .bin files: write lfw.bin:0"),
    (["{at}/net.onnx", *BIN, "--fmr", "0.05"], "a power of ten from 1e-1 to 1e-9, got 0.05"),
    (["{at}/net.onnx", *BIN, "--partial", "20"], "--partial is a share above 0 and at most 1"),
    (["{at}/net.onnx", *BIN, "--image-root", "x"], "--image-root is for lists of pairs"),
    (["{at}/net.onnx", *BIN, "--out", "{at}/mine.csv"], "--out: {at}/mine.csv cannot be made"),
    (["{at}/net.onnx"] * 6 + BIN, "6 models: a plot can tell 5 apart"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[m[-40:] for _, m in MISTAKES])
def test_mistakes(arguments, message, place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert called(*arguments, place=place) == 2
    out, err = capsys.readouterr()
    *_, line = err.splitlines()
    assert line.startswith("plsc-quality evr: error: ") and not out
    assert message.format(at=place) in line and err.count("error: ") == 1
    assert not list(tmp_path.rglob("*.*"))
