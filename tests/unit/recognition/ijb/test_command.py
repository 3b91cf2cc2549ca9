"""`plsc-ijb` end to end on drawn faces, against loops of its own; killed and resumed; bad input."""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import python, stopped
from onnx_models import told
from places import ROOT

from plsc.cli.ijb import main, model_path
from plsc.inference.quality_calibration import Calibration
from plsc.recognition.embedder import Embedder
from plsc.recognition.ijb.tables import boxed
from plsc.recognition.metrics.templates import POOLINGS

SLOW = """
import os, sys, time
from plsc.files import row_store
from plsc.recognition.embedder import Embedder
row_store.MARK_SECONDS = 0
embed = Embedder.embed
def slow(self, *arguments, **named):
    time.sleep(float(os.environ["SECONDS"]))
    return embed(self, *arguments, **named)
Embedder.embed = slow
from plsc.cli.ijb import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def arguments(model, release, tmp_path):
    return [
        *("--model-root", str(model), "--image-path", str(release.root)),
        *("--result-dir", str(tmp_path / "out"), "--num-workers", "0"),
    ]


@pytest.fixture
def counted(monkeypatch):
    """How many images the model was given in each call."""
    sizes: list[int] = []
    embed = Embedder.embed

    def counting(self, images, **named):
        sizes.append(len(images))
        return embed(self, images, **named)

    monkeypatch.setattr(Embedder, "embed", counting)
    return sizes


def scores_of(tmp_path: Path, name: str = "IJBC") -> np.ndarray:
    return np.load(tmp_path / "out" / "IJBC_result" / f"{name}.npy")


def test_scores_are_those_of_plain_loops(arguments, release, plain_scores, tmp_path, capsys):
    assert main([*arguments, "--batch-size", "7"]) == 0
    scores = scores_of(tmp_path)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, plain_scores(release), atol=1e-5)
    printed = capsys.readouterr().out.splitlines()
    head = [cell.strip() for cell in printed[1].split("|")[1:-1]]
    assert head == ["Methods", "1e-06", "1e-05", "0.0001", "0.001", "0.01", "0.1"]
    assert "| IJBC.npy-IJBC |" in printed[3]


@pytest.mark.parametrize(
    ("options", "flip", "detector"),
    [
        (["--no-flip"], False, True),
        (["--no-detector-score"], True, False),
        (["--no-flip", "--no-detector-score"], False, False),
    ],
)
def test_flip_and_detector_score_can_be_left_out(
    arguments, release, plain_scores, tmp_path, options, flip, detector
):
    assert main([*arguments, *options]) == 0
    expected = plain_scores(release, flip=flip, detector=detector)
    np.testing.assert_allclose(scores_of(tmp_path), expected, atol=1e-5)
    assert abs(expected - plain_scores(release)).max() > 1e-3


@pytest.fixture
def calibrated(model, tmp_path):
    """The model with a calibration by which some of the release's faces score low, others high."""
    fitted = Calibration.fit(np.linspace(2, 5, 40), set_name="own")
    return told(model, tmp_path / "told.onnx", quality=json.dumps(fitted.to_dict())), fitted


@pytest.mark.parametrize("flip", [True, False])
def test_each_pooling_is_that_of_plain_loops(
    arguments, release, plain_scores, tmp_path, calibrated, counted, capsys, monkeypatch, flip
):
    monkeypatch.setattr("plsc.cli.ijb.can_draw", lambda: False)  # pictures take longer
    path, fitted = calibrated
    arguments[1] = str(path)
    options = [] if flip else ["--no-flip", "--no-detector-score"]
    seen = []
    for pooling in POOLINGS:
        assert main([*arguments, *options, "--pooling", pooling]) == 0
        expected = plain_scores(
            release, flip=flip, detector=flip, pooling=pooling,
            quality=lambda length: fitted.scores([length])[0],
        )  # fmt: skip
        name = "IJBC" if pooling == "magnitude" else f"IJBC_{pooling}"
        np.testing.assert_allclose(scores_of(tmp_path, name), expected, atol=1e-5)
        assert not any(abs(expected - other).max() < 1e-4 for other in seen), pooling
        seen.append(expected)
        shown = capsys.readouterr()
        mirrored = "with mirror images, times" if flip else "without mirror images, no"
        line = f"templates: pooling {pooling}, {mirrored} detector scores"
        assert line in shown.out.splitlines() and "no difference" not in shown.err
        figures = json.loads((tmp_path / "out" / "IJBC_result" / f"{name}.json").read_text())
        assert figures["pooling"] == pooling
    assert sum(counted) == 48 * (1 + flip)  # embedded once for all of them


def test_magnitude_is_what_is_done_without_a_word(arguments, tmp_path, capsys):
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pooling"] == "magnitude"
    first = scores_of(tmp_path)
    assert main([*arguments, "--pooling", "magnitude"]) == 0
    assert (scores_of(tmp_path) == first).all()


def test_scores_need_a_calibration_before_the_work(arguments, model, counted, capsys):
    assert main([*arguments, "--pooling", "score"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"plsc-ijb: error: {model} has no calibration ")
    assert line.endswith(f"plsc-quality {model} REFERENCE --calibrate") and not counted


def test_a_calibration_of_other_pixels_is_refused(arguments, model, tmp_path, capsys):
    other = Calibration.fit(np.arange(2.0, 30), prepared={"colour_order": "BGR"})
    quality = json.dumps(other.to_dict())
    arguments[1] = str(told(model, tmp_path / "bgr.onnx", quality=quality))
    assert main([*arguments, "--pooling", "score"]) == 2
    assert "calibration was made with --colour-order BGR" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "said"), [([], 0), (["--pooling", "magnitude"], 1)])
def test_magnitudes_that_are_all_1_say_nothing(arguments, monkeypatch, capsys, options, said):
    embed = Embedder.embed

    def unit(self, images, **named):
        rows = embed(self, images, **named)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    monkeypatch.setattr(Embedder, "embed", unit)
    assert main([*arguments, *options]) == 0
    line = "--pooling magnitude makes no difference: embeddings have length 1, so the model"
    assert capsys.readouterr().err.count(line) == said


def test_workers_and_batches_do_not_change_scores(arguments, tmp_path):
    assert main([*arguments, "--batch-size", "5"]) == 0
    first = scores_of(tmp_path)
    command = [*arguments, "--batch-size", "16", "--num-workers", "2"]
    command[command.index("--result-dir") + 1] = str(tmp_path / "other")
    assert main(command) == 0
    other = np.load(tmp_path / "other" / "IJBC_result" / "IJBC.npy")
    np.testing.assert_allclose(other, first, atol=1e-6)


def test_figures_as_json(arguments, release, tmp_path, capsys):
    galleries = {"G1": [100, 94, 88, 82], "G2": [76, 70, 64, 58]}
    probes = [template - 3 for group in galleries.values() for template in group]
    release.write_search(release.root / "meta", galleries, probes)
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    folder = tmp_path / "out" / "IJBC_result"
    assert report == json.loads((folder / "IJBC.json").read_text())
    assert report["num_faces"] == report["num_faces_embedded"] == 48
    assert (report["num_templates"], report["num_same_pairs"]) == (16, 8)
    assert report["num_impostor_pairs"] == 112
    scores = scores_of(tmp_path).astype(np.float64)  # the thresholds are
    same = np.array([pair[2] for pair in release.pairs], bool)
    for point in report["points"]:
        assert (scores[same] >= point["cosine"]).mean() == point["tpr"]
        assert (scores[~same] >= point["cosine"]).mean() == point["fpr"]
    assert list(report["identification"]) == ["G1", "G2", "mean", "G1+G2"]
    for name, gallery in [*galleries.items(), ("G1+G2", galleries["G1"] + galleries["G2"])]:
        found = report["identification"][name]
        assert found["rank"]["1"] == plain_rank_1(release, scores, gallery, probes)
        assert found["num_mated"] == found["num_gallery"] == len(gallery)
    ranks = [report["identification"][name]["rank"]["5"] for name in ("G1", "G2", "mean")]
    assert ranks[2] == pytest.approx((ranks[0] + ranks[1]) / 2)


def plain_rank_1(release, scores, gallery, probes) -> float:
    by_pair = {frozenset(pair[:2]): s for pair, s in zip(release.pairs, scores, strict=True)}
    mated = [p for p in probes if release.people[p] in {release.people[g] for g in gallery}]
    best = [max(gallery, key=lambda g: by_pair[frozenset((p, g))]) for p in mated]
    hits = [release.people[g] == release.people[p] for g, p in zip(best, mated, strict=True)]
    return sum(hits) / len(hits)


def test_roc_pictures(arguments, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "out" / "IJBC_result"
    with monkeypatch.context() as patch:
        patch.setattr("plsc.cli.ijb.can_draw", lambda: False)
        assert main(arguments) == 0
        assert "matplotlib is missing: pip install matplotlib" in capsys.readouterr().err
        assert not list(folder.glob("*_roc.*"))
    pytest.importorskip("matplotlib")
    assert main(arguments) == 0
    assert (folder / "IJBC_roc.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "IJBC_roc.pdf").read_bytes().startswith(b"%PDF")


def test_a_second_run_embeds_nothing(arguments, tmp_path, counted, capsys):
    assert main(arguments) == 0
    first = scores_of(tmp_path)
    assert sum(counted) == 96
    counted.clear()
    assert main([*arguments, "--json"]) == 0
    assert not counted
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["num_faces_embedded"] == 0
    assert (scores_of(tmp_path) == first).all()
    assert main([*arguments, "--no-flip"]) == 0  # what is there holds that, too
    assert not counted


def test_an_exchanged_image_is_embedded_again(arguments, release, tmp_path, counted, plain_scores):
    assert main([*arguments, "--no-flip"]) == 0
    counted.clear()
    crops = release.root / "loose_crop"
    (crops / "20.png").write_bytes((crops / "1.png").read_bytes())
    assert main([*arguments, "--no-flip"]) == 0
    assert sum(counted) == 1
    np.testing.assert_allclose(scores_of(tmp_path), plain_scores(release, flip=False), atol=1e-5)


@pytest.mark.parametrize("changed", ["landmarks", "colours"])
def test_other_crops_or_pixels_are_other_embeddings(arguments, release, tmp_path, counted, changed):
    assert main(arguments) == 0
    first = scores_of(tmp_path)
    counted.clear()
    if changed == "landmarks":
        release.points[0] = release.points[0] + 5
        release.write()
    else:
        arguments += ["--colour-order", "BGR"]
    assert main(arguments) == 0
    assert sum(counted) == 96
    assert abs(scores_of(tmp_path) - first).max() > 1e-4


def test_a_killed_run_goes_on(arguments, release, tmp_path, model, plain_scores):
    command = ["-c", SLOW, *arguments, "--batch-size", "4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SECONDS": "0.3"}

    def sixteen_faces_are_done():
        found = (tmp_path / "out").glob("IJBC_result/embeddings/*/finished")
        return any((np.fromfile(path, "<i8") != 0).sum() >= 16 for path in found)

    line = [sys.executable, *command]
    stopped(line, signal.SIGKILL, when=sixteen_faces_are_done, env=environment)
    environment["SECONDS"] = "0"
    assert not (tmp_path / "out" / "IJBC_result" / "IJBC.npy").exists()
    done = python(*command, "--json", env=environment)
    embedded = json.loads(done.stdout)["num_faces_embedded"]
    assert 0 < embedded <= 48 - 16
    np.testing.assert_allclose(scores_of(tmp_path), plain_scores(release), atol=1e-5)
    resumed = scores_of(tmp_path)
    whole = [*command]
    whole[whole.index("--result-dir") + 1] = str(tmp_path / "whole")
    python(*whole, env=environment)
    assert (np.load(tmp_path / "whole" / "IJBC_result" / "IJBC.npy") == resumed).all()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_unreadable_image_is_named_and_what_was_done_is_kept(
    arguments, release, tmp_path, counted, capsys, plain_scores, workers
):
    bad = release.root / "loose_crop" / "30.png"
    sound = bad.read_bytes()
    bad.write_bytes(sound[:200])
    arguments[-1] = workers
    assert main([*arguments, "--batch-size", "4"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("plsc-ijb: error: ") and "loose_crop/30.png" in message
    assert not (tmp_path / "out" / "IJBC_result" / "IJBC.npy").exists()
    bad.write_bytes(sound)
    counted.clear()
    assert main([*arguments, "--batch-size", "4"]) == 0
    assert sum(counted) == 2 * (48 - 28)  # seven batches were done
    np.testing.assert_allclose(scores_of(tmp_path), plain_scores(release), atol=1e-5)


def test_the_face_of_a_nan_is_named(arguments, monkeypatch, capsys):
    run, seen = Embedder._run, []

    def nan_for_one(self, images, order):
        rows = run(self, images, order)
        seen.extend(rows)
        if len(seen) == 1 + 3 * 2 * 8:  # one grey image, then three batches and their mirrors
            rows[5] = np.nan
        return rows

    monkeypatch.setattr(Embedder, "_run", nan_for_one)
    assert main([*arguments, "--batch-size", "8"]) == 2
    assert "infinity for" in (line := capsys.readouterr().err.splitlines()[-1])
    assert "/loose_crop/22.png: " in line


def test_landmarks_of_no_face_are_named(arguments, release, capsys):
    release.points[10][:] = 7
    release.write()
    assert main(arguments) == 2
    assert "_5pts_score.txt:11: landmarks lie within one pixel" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--num-workers", "-1"], "--num-workers must be at least 0, got -1"),
        (["--model-root", "nowhere.onnx"], "nowhere.onnx: no such file"),
        (["--image-path", "nowhere"], "--image-path: nowhere is not a folder"),
        (["--target", "IJBB"], "is this IJBC? give --target IJBC"),
        (["--provider", "abacus"], "provider must be"),
        (["--mean", "1", "2"], "mean"),
    ],
)
def test_mistakes_in_options_are_said_in_one_line(arguments, capsys, options, message):
    assert main([*arguments, *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1] and lines[-1].startswith("plsc-ijb: error: ")


def test_a_model_that_tells_nobody_apart_is_refused(arguments, monkeypatch, capsys):
    monkeypatch.setattr(
        Embedder, "embed", lambda self, images, **named: np.ones((len(images), self.info.dim))
    )
    assert main(arguments) == 2
    assert "all 120 pairs score 1.0000: the model tells no two faces apart" in (
        capsys.readouterr().err
    )


def test_a_folder_with_one_model_is_that_model(model, tmp_path):
    assert model_path(str(model.parent)) == str(model)
    assert model_path(str(tmp_path)) == str(tmp_path)  # perhaps a checkpoint
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"has 2 models \(a.onnx, b.onnx\): name one"):
        model_path(str(tmp_path))


def test_the_script_of_the_task_is_the_command(arguments, tmp_path):
    script = ROOT / "tasks" / "recognition" / "face" / "onnx_ijbc.py"
    done = python(script, *arguments, "--target", "IJBC", "--pooling", "mean", cwd=tmp_path)
    assert "| IJBC_mean.npy-IJBC |" in done.stdout and "pooling mean, with mirror" in done.stdout


def test_tables_have_the_look_of_prettytable():
    row = ["IJBC.npy-IJBC", "8.6", "100.00", "1"]
    assert boxed([["Methods", "1e-06", "0.0001", "0.1"], row]) == (
        "+---------------+-------+--------+-----+\n"
        "|    Methods    | 1e-06 | 0.0001 | 0.1 |\n"
        "+---------------+-------+--------+-----+\n"
        "| IJBC.npy-IJBC |  8.6  | 100.00 |  1  |\n"
        "+---------------+-------+--------+-----+"
    )
    odd = boxed([["four", "a"], ["x", "bcde"], ["xy", "12"], ["xyz", "123"]]).splitlines()
    assert odd[1] == "| four |  a   |"  # an odd blank: behind odd text, before even text
    assert odd[3:6] == ["|  x   | bcde |", "|  xy  |  12  |", "| xyz  | 123  |"]
    assert boxed([["five5"], ["ab"]]).splitlines()[3] == "|   ab  |"
