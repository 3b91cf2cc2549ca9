"""The guide to image quality says what the code does: its tables, figures and messages."""

import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml
from documents import DOCS, QUALITY, codes
from logs import Log
from places import ROOT
from refusals import refused

from plsc.cli import quality_evr as evr_command
from plsc.config import yaml_tree
from plsc.config.load import load_config, parse_config
from plsc.config.registry import LOSSES
from plsc.config.schema import check_params
from plsc.data.sets.open import open_pair_set
from plsc.engine.build import check_components
from plsc.engine.training_task import StepReport
from plsc.errors import UserError
from plsc.inference.calibration import require_alike
from plsc.inference.quality_calibration import Calibration, refuse_constant
from plsc.quality import reference
from plsc.quality.error_reject import decades, impostors_needed
from plsc.quality.magnitudes import COLUMNS, Magnitudes
from plsc.quality.quality_table import read_quality_table
from plsc.recognition.magnitude_watch import STEPS, MagnitudeWatch
from plsc.recognition.metrics.registered import AngularAcc, LFWAcc
from plsc.recognition.metrics.templates import POOLINGS
from plsc.recognition.models.iresnet import IResNet

TEXT, table = QUALITY.text, QUALITY.table
FIGURES = json.loads((DOCS / "images" / "figures.json").read_text())["seeds"]
NETWORKS = ("MagFace", "ArcFace")
ORL = ROOT / "configs" / "IResNet18_ORL_ArcFace_cpu.yaml"
MAGFACE = ROOT / "configs" / "IResNet100_MS1MV2_MagFace_pfc10_1n8c_dp_mp_fp16o1.yaml"
LITTLE = 1e-9


def quoted(begins: str) -> str:
    """The line of the text blocks that begins so."""
    return QUALITY.quoted("", begins=begins)


def test_losses_have_their_ranges():
    """Each key's bounds are accepted, and what lies beyond is not."""
    ranges = {key: cells[1] for cells in table("key |") for key in codes(cells[0])}
    seen = set()
    for name in LOSSES.names():
        factory = LOSSES.get(name, "")
        for key in inspect.signature(factory).parameters:
            words, allowed, refused = ranges[key], [1e6], [-LITTLE]
            if words.startswith("0 or more"):
                allowed.append(0)
            elif words != "true or false":
                assert words.startswith("above 0"), words
                refused.append(0)
            if words.endswith("up to 1"):
                allowed, refused = [LITTLE, 1], [*refused, 1 + LITTLE]
            if words == "true or false":
                allowed, refused = [True, False], [1.0, "yes"]
            for value in allowed:
                assert check_params(factory, {key: value}, name)[key] == value
            for value in refused:
                with pytest.raises(UserError):
                    check_params(factory, {key: value}, name)
            seen.add(key)
    assert seen == set(ranges)


def test_the_options_of_magfaces_networks():
    magface = load_config(MAGFACE).Model.params
    parameters = inspect.signature(IResNet.__init__).parameters
    rows = table("key of `Model`")
    for cells in rows:
        (key,) = codes(cells[0])
        for cell, expected in ((cells[1], parameters[key].default), (cells[2], magface[key])):
            assert yaml_value(cell) == expected, key
    documented = set(magface) & set(parameters) - {"num_features", "data_format"}
    assert QUALITY.names("key of `Model`") == documented


def yaml_value(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def test_bounds_of_lambda_g():
    for name in ("MagFace", "MagCosFace"):
        assert f"{LOSSES.get(name, '')().bound():.2f} for {name}'s" in TEXT
    tuned = LOSSES.get("MagFace", "")(l_a=1, u_a=51, l_m=0.45, u_m=1.0, lambda_g=5)
    assert f"the bound is {tuned.bound():.2f}" in TEXT
    (note,) = LOSSES.get("MagFace", "")().notes()
    assert note == quoted("MagFace: ")


@pytest.mark.parametrize("number", range(3))
def test_yaml_blocks_are_configs(number):
    found = QUALITY.blocks("yaml")
    assert len(found) == 3
    tree = yaml_tree.read(ORL)
    for name, section in yaml.safe_load(found[number]).items():
        tree[name] |= section
    check_components(parse_config(tree))


def test_rates_and_the_impostors_that_they_need():
    for rate, needed, resolved in table("FMR"):
        assert int(needed.replace(",", "")) == impostors_needed(float(rate))
        assert int(resolved.replace(",", "")) == 10 ** decades(float(rate))


def test_columns_poolings_and_fields():
    assert [codes(cells[0])[0] for cells in table("column")] == list(COLUMNS)
    assert [codes(cells[0])[0] for cells in table("`--pooling`")] == list(POOLINGS)
    embeddings = np.random.default_rng(0).normal(size=(80, 8))
    same = [True, False] * 20
    magface = AngularAcc()(embeddings, None, same)
    insightface = LFWAcc()(embeddings, embeddings, same)
    rows = table("field of `metrics.jsonl`")
    assert {codes(cells[0])[0] for cells in rows} == set(magface) - set(insightface)
    replaced = {name for cells in rows for name in codes(cells[1]) if name != "best_model"}
    without_mirror = {"accuracy", "accuracy_std"}
    assert replaced == set(insightface) - set(magface) - without_mirror


def watched(**settings: float) -> str:
    """What a run says of 20 steps with these magnitudes."""
    low, high, outside = (settings.pop(name) for name in ("low", "high", "outside"))
    log = Log()
    watch = MagnitudeWatch(log, [LOSSES.get("MagFace", "")(**settings)])
    middle = {"magnitude_p50": (low + high) / 2, "magnitude_outside": outside}
    statistics = {"magnitude_p5": low, "magnitude_p95": high, **middle}
    for step in range(STEPS):
        watch(StepReport(1.0, 0.1, 1.0, 1.0, False, statistics, {}), step)
    (line,) = log.lines
    return line


def test_warnings_about_magnitudes():
    rendered = {"l_a": 60.0, "u_a": 110.0, "l_m": 0.25, "u_m": 0.6, "s": 32.0}
    flat = watched(low=9.045, high=17.16, outside=1.0, **rendered)
    assert flat == quoted("WARNING: magnitudes will stay flat")
    assert watched(low=20.0, high=20.0, outside=0.0) == quoted("WARNING: magnitudes are all alike")


def test_messages_of_plsc_quality(tmp_path, monkeypatch, capsys):
    assert refused(lambda: refuse_constant(np.ones(20))) == quoted("all 20 magnitudes")

    prepared = {"colour_order": "BGR"}
    two = Magnitudes(["a.jpg", "b.jpg"], np.array([1.0, 2.0]), ["", ""])
    assert reference.relative(two, SimpleNamespace(preparation=prepared), "").notes == (
        quoted("no calibration, and 2"),
    )
    other = Calibration.fit(np.arange(1.0, 30.0), prepared={"colour_order": "RGB"})
    assert refused(lambda: require_alike(other, prepared)) == quoted("the quality calibration")

    monkeypatch.chdir(tmp_path)
    Path("faces/images").mkdir(parents=True)
    for name in ("1", "2"):
        cv2.imwrite(f"faces/images/{name}.jpg", np.zeros((112, 112, 3), np.uint8))
    Path("faces/label.txt").write_text("images/1.jpg\timages/2.jpg\t1\n")
    Path("scores.csv").write_text("path,score\n1.jpg,1\n2.jpg,2\n")
    text = refused(lambda: read_quality_table("score", "scores.csv").of(open_pair_set("faces")[1]))
    assert text.replace(str(tmp_path), "/photos") == quoted("scores.csv: no row")
    Path("scores.csv").write_text("path,score\nimages/1.jpg,1\nimages/2.jpg,\n")
    text = refused(lambda: read_quality_table("score", "scores.csv").of(open_pair_set("faces")[1]))
    assert text == quoted("scores.csv: no number")

    pairs = "images/1.jpg\timages/2.jpg\t1\n" * 10 + "images/1.jpg\timages/2.jpg\t0\n" * 10
    Path("faces/label.txt").write_text(pairs)
    assert evr_command.main(["none.onnx", "--bin", "faces"]) == 2
    assert quoted("10 impostor pairs") in capsys.readouterr().err


def shown(numbers, digits):
    """Numbers of the seeds as the tables have them."""
    return ", ".join(f"{number:.{digits}f}".replace("-", "−") for number in numbers)


def curves_of(network, fmr, measure="magnitude", threshold="fixed"):
    wanted = {"model": network, "measure": measure, "fmr": fmr, "threshold": threshold}
    found = [[c for c in seed["curves"] if wanted.items() <= c.items()] for seed in FIGURES]
    assert all(len(curves) == 1 for curves in found)
    return [curve for (curve,) in found]


def test_the_correlations_are_those_of_the_figures():
    found = {kind: cells for kind, *cells in table("pictures")}
    assert list(found) == ["all", "blur", "noise", "darkness", "crop"]
    for kind, cells in found.items():
        for network, cell in zip(NETWORKS, cells, strict=True):
            each = [seed["correlation"][network][kind]["rho"] for seed in FIGURES]
            assert cell == shown(each, 2), (kind, network)
    for seed in FIGURES:
        magface, arcface = (seed["correlation"][network]["all"] for network in NETWORKS)
        assert magface["high"] < arcface["low"]


def test_the_curves_are_those_of_the_figures():
    rate = None
    for first, what, *cells in table("at FMR"):
        rate = float(first) if first else rate
        for network, cell in zip(NETWORKS, cells, strict=True):
            curves = curves_of(network, rate)
            whole = [curve["fnmr"][0] for curve in curves]
            if what == "FNMR, none rejected":
                assert cell == shown(whole, 3)
            elif what == "left, mean of 0 to 95 %":
                assert cell == shown([curve["relative_area"] for curve in curves], 2)
            else:
                share = int(re.fullmatch(r"left at (\d+) % rejected", what)[1]) / 100
                left = [dict(zip(c["rejects"], c["fnmr"], strict=True))[share] for c in curves]
                assert cell == shown(np.divide(left, whole), 2), (rate, what, network)


@pytest.mark.parametrize("threshold", ["fixed", "reestimated"])
@pytest.mark.parametrize("rate", [1e-1, 1e-2, 1e-3])
def test_magfaces_curve_falls_faster_for_every_seed(rate, threshold):
    magface, arcface = (curves_of(n, rate, threshold=threshold) for n in NETWORKS)
    for one, other in zip(magface, arcface, strict=True):
        assert one["relative_area"] < other["relative_area"]


def test_the_controls_are_those_of_the_figures():
    random = [c["relative_area"] for n in NETWORKS for c in curves_of(n, 0.01, "random")]
    known = [c["relative_area"] for c in curves_of("MagFace", 0.01, "severity")]
    text = " ".join(TEXT.split())
    assert f"leaves {min(random):.2f} to {max(random):.2f} of it at FMR 1e-2" in text
    assert f"severity {min(known):.2f} to {max(known):.2f} on MagFace's distances" in text
    margins = yaml.safe_load((ROOT / "configs" / "quality_MagFace_cpu.yaml").read_text())
    used = margins["Loss"]["Train"][0]["MagFace"]
    for key in ("l_a", "u_a", "l_m", "u_m", "lambda_g"):
        assert f"{key} {used[key]:g}" in text
