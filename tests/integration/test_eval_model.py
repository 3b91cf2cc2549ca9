"""`plsc-eval --model`: models of any origin on any sets, without a config."""

import html
import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from checkpoints import saved
from commands import python, ran
from onnx import helper, numpy_helper
from onnx_models import images, vectors, write_model
from places import ROOT
from small_runs import write_own_bin

from plsc.cli.compare import main as compare_main
from plsc.cli.evaluate import main as evaluate
from plsc.config.load import parse_config
from plsc.data.transforms.input_pixels import trained_on
from plsc.export.convert import export_onnx
from plsc.recognition.description import describe_model
from plsc.recognition.embedder import Embedder
from plsc.recognition.export_spec import embedding_spec
from plsc.recognition.metrics.roc import FARS

DIM = 32
NO_PADDLE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "paddle":
            raise ImportError("paddle is not to be imported")
sys.meta_path.insert(0, Refuse())
from plsc.cli.evaluate import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def bins(tiny_faces, tmp_path_factory):
    """A `.bin` file with the pairs of tiny_faces, and one with others."""
    folder = tmp_path_factory.mktemp("bins")
    lines = [line.split("\t") for line in (tiny_faces / "pairs.txt").read_text().splitlines()]
    files = [(tiny_faces / name).read_bytes() for line in lines for name in line[:2]]
    (folder / "all.bin").write_bytes(pickle.dumps((files, [line[2] == "1" for line in lines])))
    write_own_bin(tiny_faces, folder / "own.bin")
    return folder


@pytest.fixture(scope="module")
def backbone(small_backbone):
    return small_backbone(DIM)


@pytest.fixture(scope="module")
def models(backbone, bins, tmp_path_factory):
    """One network as a checkpoint and as an ONNX file."""
    folder = tmp_path_factory.mktemp("models")
    dataset = {"name": "FaceVerificationBin", "bin_path": str(bins / "own.bin")}
    evaluation = {"dataset": dataset, "sampler": {"batch_size": 8}}
    model = {"name": "QuickFace_nano", "num_features": DIM}
    parsed = parse_config({"Model": model, "DataLoader": {"Eval": evaluation}})
    said = describe_model(DIM, trained_on(parsed))
    export_onnx(backbone, folder / "net.onnx", embedding_spec(DIM, metadata=said))
    checkpoint = saved(folder, backbone, config=parsed.to_dict(), model=said)
    return {"checkpoint": checkpoint, "onnx": folder / "net.onnx"}


def figures(tree):
    """All numbers of a JSON tree by their place."""
    if isinstance(tree, dict):
        tree = tree.items()
    elif isinstance(tree, list):
        tree = enumerate(tree)
    else:
        return {"": tree}
    return {f"{key}/{place}": value for key, part in tree for place, value in figures(part).items()}


def close(tree):
    """`tree` but for the rounding of float32 embeddings."""
    return {
        place: pytest.approx(value, rel=5e-6, abs=1e-6) if isinstance(value, float) else value
        for place, value in figures(tree).items()
    }


def measured(*arguments):
    out = Path(arguments[arguments.index("--json") + 1])
    assert evaluate([str(argument) for argument in arguments]) == 0
    return json.loads(out.read_text())


def test_all_ways_give_the_same_figures(run, models, bins, tmp_path, tiny_faces):
    """A config on two ranks, a checkpoint, an ONNX file where paddle cannot be imported."""
    data = run.config["DataLoader"]["Eval"]
    own = {"name": "FaceVerificationBin", "bin_path": str(bins / "own.bin")}
    data["dataset"] = [data["dataset"], own]
    pretrained = f"Global.pretrained_model={models['checkpoint']}"
    launched = run.world.command(2, *run.arguments("eval", pretrained))
    page = ["--report", str(tmp_path / "of_config")]
    ran(*launched, "--json", tmp_path / "config.json", *page, cwd=tmp_path)
    of_config = json.loads((tmp_path / "config.json").read_text())
    sets = ["--pairs", str(tiny_faces / "pairs.txt"), "--bin", str(bins / "own.bin")]
    json_of = ["--num_workers", "0", "--json", tmp_path / "out.json"]
    of_checkpoint = measured("--model", models["checkpoint"], *sets, *json_of)

    options = ["--json", "-", "--report", "page", "--num_workers", "2"]
    alone = {"PYTHONPATH": str(ROOT), "PATH": ""}
    command = "-c", NO_PADDLE, "--model", models["onnx"], *sets, *options
    done = python(*command, cwd=tmp_path, env=alone)
    of_onnx = json.loads(done.stdout)

    names = [[item["set"] for item in found["sets"]] for found in (of_checkpoint, of_onnx)]
    assert names == [["own", tiny_faces.name]] * 2
    of_config["sets"].reverse()
    for found in (of_config, of_onnx):
        for ours, theirs in zip(found["sets"], of_checkpoint["sets"], strict=True):
            assert figures(ours) == close(theirs)
        assert found["model"]["mean"] == [127.5] * 3 and found["model"]["dim"] == DIM
    assert of_onnx["model"]["kind"] == "ONNX file"
    for folder in ("page", "of_config"):
        text = (tmp_path / folder / "index.html").read_text()
        assert text.count("<section") == 2 and "data:image/jpeg" in text


def embedded(models, bins, folder):
    """Embeddings of the images of `all.bin`, read as files, and which pairs are of one person."""
    encoded, issame = pickle.loads((bins / "all.bin").read_bytes())
    files = [folder / f"{number}.png" for number in range(len(encoded))]
    for file, content in zip(files, encoded, strict=True):
        file.write_bytes(content)
    return Embedder(models["onnx"]).embed_files(files).astype(np.float64), np.array(issame)


def test_reference_figures(models, bins, tmp_path, capsys):
    """Accuracy and thresholds by other means than `verify`."""
    arguments = "--model", models["onnx"], "--bin", bins / "all.bin", "--no_flip"
    (found,) = measured(*arguments, "--json", tmp_path / "out.json")["sets"]
    rows, issame = embedded(models, bins, tmp_path)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    scores = (unit[0::2] * unit[1::2]).sum(axis=1)
    impostors = np.sort(scores[~issame])[::-1]
    assert found["flip"] is False and found["accuracy_flip"] is None and found["impostors"] == 10
    first, *others = found["operating_points"]
    assert impostors[1] < first["cosine"] <= impostors[0]
    assert first["tar"] == (scores[issame] >= first["cosine"] - 1e-9).mean()
    assert not any(point["resolved"] for point in others) and len(others) == len(FARS) - 1
    shown = capsys.readouterr().out
    assert "all: 20 pairs, 10 of them impostors; images as they are" in shown
    assert re.search(r"\n1e-2( +-){5}  needs 100 impostors\n", shown)


def test_magfaces_protocol(models, bins, tmp_path, capsys):
    """Its accuracy by other means than `verify`, of the images without mirrored ones."""
    arguments = "--model", models["onnx"], "--bin", bins / "all.bin", "--json", tmp_path / "o.json"
    page = "--report", tmp_path / "page"
    (angular,) = measured(*arguments, *page, "--protocol", "magface")["sets"]
    shown = capsys.readouterr().out
    text = (tmp_path / "page" / "index.html").read_text()
    (plain,) = measured(*arguments, "--no_flip")["sets"]
    assert angular["accuracy"]["protocol"] == "magface" and not angular["flip"]
    assert plain["accuracy"]["protocol"] == "insightface"
    assert angular["operating_points"] == plain["operating_points"]

    rows, same = embedded(models, bins, tmp_path)
    folds = []
    for test in range(0, 20, 2):
        train = np.delete(np.arange(20), [test, test + 1])
        first, second = (rows - rows.reshape(20, 2, -1)[train].mean(axis=(0, 1))).reshape(
            20, 2, -1
        ).swapaxes(0, 1)  # fmt: skip
        cosines = (first * second).sum(1)
        cosines /= np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        accepted = np.arccos(cosines)[:, None] / np.pi < np.arange(0, 4, 0.01)
        right = accepted == same[:, None]
        folds.append(right[[test, test + 1], right[train].sum(axis=0).argmax()].mean())
    assert angular["accuracy"]["folds"] == folds
    for said in (shown, html.unescape(text)):
        assert "MagFace's protocol, angles of embeddings less the mean" in said
        assert "InsightFace's protocol" not in said
    assert f"cosine {angular['accuracy']['cosine']:.4f}: most correct decisions" in text
    assert "InsightFace's protocol, squared distances" in capsys.readouterr().out


def test_a_config_measures_by_both_protocols(run, models, tmp_path):
    run.config["Metric"]["Eval"].append({"AngularAcc": {}})
    _, *arguments = run.arguments("eval", f"Global.pretrained_model={models['checkpoint']}")
    out = tmp_path / "out.json"
    done = run.without_config("eval", *arguments, "--json", out, "--report", tmp_path / "page")
    usual, angular = json.loads(out.read_text())["sets"]
    assert usual["flip"] and usual["accuracy"]["protocol"] == "insightface"
    assert not angular["flip"] and angular["accuracy"]["protocol"] == "magface"
    for name, accuracy in (
        ("accuracy-flip", usual["accuracy_flip"]), ("accuracy-magface", angular["accuracy"]),
    ):  # fmt: skip
        assert f"{name}: {accuracy['mean']:.5f}, std: {accuracy['std']:.5f}" in done.stdout
    assert f"threshold_angle: {angular['accuracy']['threshold']:.5f}" in done.stdout
    first, second = re.findall(r"^accuracy by (\w+)'s protocol", done.stdout, re.MULTILINE)
    assert (first, second) == ("InsightFace", "MagFace")
    page = (tmp_path / "page" / "index.html").read_text()
    assert page.count('<a href="#set-') == page.count("<section") == 2
    assert page.index("#set-1") < page.index("InsightFace") < page.index('<a href="#set-2')


def third_party(path, *, batch):
    """An insightface-style network: float NCHW in, [N, 24] out, no word about itself."""
    weight = np.random.default_rng(2).standard_normal((3 * 14 * 14, 24)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["input.1", "kernel"], ["pooled"], group=3, strides=[8, 8]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["683"]),
    ]
    given, made = images(batch, 3, 112, 112, name="input.1"), vectors("683", batch, 24)
    weights = {"kernel": np.full((3, 1, 8, 8), 1 / 64, np.float32), "weight": weight}
    write_model(path, nodes, given=given, made=made, weights=weights, opset=17)


def test_a_third_partys_model_of_fixed_batch(bins, tmp_path, capsys):
    """40 images of `all.bin` in batches of 3: the last one is not full."""
    third_party(tmp_path / "fixed.onnx", batch=3)
    third_party(tmp_path / "any.onnx", batch="N")
    sets = "--bin", bins / "all.bin", bins / "own.bin"
    found = [
        measured("--model", tmp_path / name, *sets, "--json", tmp_path / "out.json")
        for name in ("fixed.onnx", "any.onnx")
    ]
    assert [item["set"] for item in found[0]["sets"]] == ["all", "own"]
    assert figures(found[0]["sets"]) == close(found[1]["sets"])
    assert any("fixed by the network" in note for note in found[0]["model"]["notes"])
    said = capsys.readouterr()
    assert "assumed" in said.err and "assumed" not in said.out
    options = "--mean", 0, "--std", 255, "--colour_order", "BGR", "--json", tmp_path / "out.json"
    other = measured("--model", tmp_path / "any.onnx", *sets, *options)
    assert (other["model"]["std"], other["model"]["colour_order"]) == ([255.0] * 3, "BGR")
    assert abs(other["sets"][0]["xnorm"] - found[0]["sets"][0]["xnorm"]) > 1e-3


@pytest.mark.parametrize("kind", ["onnx", "checkpoint"])
def test_thresholds_go_with_the_model(kind, models, bins, tmp_path, capsys):
    model = tmp_path / models[kind].name
    (shutil.copytree if kind == "checkpoint" else shutil.copy)(models[kind], model)
    before = Embedder(model)
    link = tmp_path / f"link{model.suffix}"
    link.symlink_to(model)
    sets = "--bin", bins / "all.bin", bins / "own.bin"
    (all_pairs, _) = measured(
        "--model", link, *sets, "--store_thresholds", "all", "--json", tmp_path / "out.json"
    )["sets"]
    assert link.is_symlink() and not list(tmp_path.rglob("*partial*"))
    after = Embedder(model)
    assert after.info.thresholds.set_name == "all" and after.info.thresholds.flip is True
    cosine = all_pairs["operating_points"][0]["cosine"]
    assert after.info.thresholds.cosines == {"1e-1": pytest.approx(cosine, abs=1e-12)}
    assert before.info.thresholds is None and after.info.notes == before.info.notes
    grey = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    assert (after.embed(grey) == before.embed(grey)).all()
    # Once more, of the other set: the table is replaced.
    arguments = "--model", model, "--bin", bins / "all.bin", "--no_flip"
    measured(*arguments, "--store_thresholds", "--json", tmp_path / "out.json")
    assert Embedder(model).info.thresholds.flip is False
    assert "stored in" in capsys.readouterr().err


def test_thresholds_are_of_images_prepared_alike(bins, tmp_path, capsys):
    model = tmp_path / "any.onnx"
    third_party(model, batch="N")
    sets = "--bin", bins / "all.bin", "--json", tmp_path / "out.json"
    measured("--model", model, *sets, "--colour-order", "BGR", "--mean", "0", "--store_thresholds")
    faces = []
    for number in range(2):
        faces.append(str(tmp_path / f"{number}.png"))
        Path(faces[-1]).write_bytes(pickle.loads((bins / "all.bin").read_bytes())[0][number])
    assert compare_main([str(model), *faces, "--mean", "0"]) == 2
    assert "thresholds were measured with --colour-order BGR: give" in capsys.readouterr().err
    assert compare_main([str(model), *faces, "--colour-order", "BGR"]) == 2
    assert "measured with --mean 0.0: give it here, too" in capsys.readouterr().err
    assert compare_main([str(model), *faces, "--colour-order", "BGR", "--mean", "0"]) == 0
    assert "1e-1" in capsys.readouterr().out


MISTAKES = [
    (["-c", "x.yaml", "--model", "{onnx}"], "got both"),
    ([], "got neither"),
    (["--model", "{onnx}"], "--model needs a verification set"),
    (["--model", "{onnx}", "-o", "Global.seed=1", "--bin", "{bin}"], "-o changes a key"),
    (["-c", "x.yaml", "--bin", "{bin}"], "--bin goes with --model"),
    (["-c", "x.yaml", "--no_flip"], "--no-flip goes with --model"),
    (["-c", "x.yaml", "--flip", "sum"], "--flip goes with --model"),
    (["--model", "{onnx}", "--bin", "{bin}", "--protocol", "magface", "--flip", "sum"],
     "images without their mirror images: leave --flip sum out"),
    (["-c", "x.yaml", "--protocol", "magface"], "--protocol goes with --model; with -c the config"),
    (["--model", "{onnx}", "--bin", "nowhere.bin"], "nowhere.bin: no such file"),
    (["--model", "{onnx}", "--bin", "{onnx}"], "is no verification set"),
    (["--model", "{onnx}", "--bin", "{bin}", "--image_root", "x"], "--image-root is for lists"),
    (["--model", "{onnx}", "--bin", "{bin}", "--batch_size", "0"], "--batch-size must be at"),
    (["--model", "{onnx}", "--bin", "{bin}", "--provider", "gpu"], "provider must be cpu"),
    (["--model", "{onnx}", "--bin", "{bin}", "--json", "no/out.json"], "no is not a folder"),
    (["--model", "{onnx}", "--bin", "{bin}", "--report", "{bin}"], "--report"),
    (["--model", "{onnx}", "--bin", "{bin}", "--store_thresholds", "lfw"], "no set is called"),
    (["--model", "{onnx}", "--bin", "{bin}", "{own}", "--store_thresholds"], "of which set?"),
    (["--model", "{onnx}", "--bin", "{nine}", "--store_thresholds"], "9 impostor pairs resolve no"),
    (["--model", "{onnx}", "--bin", "{few}"], "few: nrof_folds 10 needs as many pairs"),
    (["--model", "{onnx}", "--bin", "{small}"], "is 56x56"),
]  # fmt: skip


@pytest.fixture(scope="module")
def places(bins, tmp_path_factory):
    import cv2

    folder = tmp_path_factory.mktemp("places")
    third_party(folder / "any.onnx", batch="N")
    encoded, issame = pickle.loads((bins / "all.bin").read_bytes())
    (folder / "few.bin").write_bytes(pickle.dumps((encoded[:8], issame[:4])))
    order = np.argsort(issame, kind="stable")  # impostors first
    nine = [*order[:9], order[-1]]
    files = [encoded[2 * pair + side] for pair in nine for side in (0, 1)]
    (folder / "nine.bin").write_bytes(pickle.dumps((files, [issame[pair] for pair in nine])))
    pixels = [cv2.imdecode(np.frombuffer(image, np.uint8), 1)[::2, ::2] for image in encoded]
    halves = [cv2.imencode(".png", image)[1].tobytes() for image in pixels]
    (folder / "small.bin").write_bytes(pickle.dumps((halves, issame)))
    shutil.copy(bins / "own.bin", folder)
    return {
        "onnx": folder / "any.onnx", "bin": bins / "all.bin", "own": bins / "own.bin",
        "few": folder / "few.bin", "nine": folder / "nine.bin", "small": folder / "small.bin",
    }  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[m for _, m in MISTAKES])
def test_mistakes(arguments, message, places, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert evaluate([argument.format(**places) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    *notes, line = [part for part in err.splitlines() if "images/s" not in part]
    assert line.startswith("plsc-eval: error: ") and message in line and not out
    assert not any("error" in note for note in notes) and not list(tmp_path.iterdir())


def test_resize(places, tmp_path):
    arguments = "--model", places["onnx"], "--bin", places["small"], "--resize"
    (found,) = measured(*arguments, "--json", tmp_path / "out.json")["sets"]
    assert found["pairs"] == 20


def test_embeddings_that_are_all_alike(places, tmp_path, capsys):
    model = onnx.load(places["onnx"])
    weight = np.zeros((588, 24), np.float32)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(weight, "weight"))
    onnx.save(model, tmp_path / "zero.onnx")
    arguments = "--model", tmp_path / "zero.onnx", "--bin", places["bin"]
    assert evaluate([str(argument) for argument in arguments]) == 2
    assert "all: embeddings have collapsed" in capsys.readouterr().err


def test_the_image_of_a_nan_is_named(places, monkeypatch, capsys):
    run, seen = Embedder._run, []

    def nan_for_one(self, images, order):
        rows = run(self, images, order)
        seen.extend(rows)
        if len(seen) > 1 + 2 * 32:  # one grey image, 32 images and their mirror images
            rows[5] = np.nan
        return rows

    monkeypatch.setattr(Embedder, "_run", nan_for_one)
    arguments = "--model", places["onnx"], "--bin", places["bin"], "--batch_size", "32"
    assert evaluate([str(argument) for argument in arguments]) == 2
    assert f"infinity for {places['bin']}: image 37: " in capsys.readouterr().err
