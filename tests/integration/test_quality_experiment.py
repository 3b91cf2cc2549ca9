"""The quality experiment: its figures are what its tables say, and it runs from end to end."""

import importlib.util
import json

import cv2
import numpy as np
import pytest
from commands import python
from places import ROOT

from plsc.data.dataset.tools.render_synthetic_faces import main as render
from plsc.data.transforms.degrade import KINDS

TOOLS = ROOT / "tools"
NETWORKS = ("MagFace", "ArcFace")


@pytest.fixture(scope="module")
def figures():
    spec = importlib.util.spec_from_file_location("quality_figures", TOOLS / "quality_figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def faces(figures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment") / "faces"
    size = ["--identities", "1", "--images_per_identity", "2", "--eval_identities", "8"]
    assert render(["--output_dir", str(folder), *size, "--pairs", "60", "--degrade", "0.8"]) == 0
    return figures.held_out(folder)


def test_held_out_are_the_people_of_the_pairs(faces):
    assert set(faces["person"]) == set(range(1, 9)) and len(faces["path"]) == 120
    assert set(faces["kind"]) == {"none", *KINDS}
    assert (faces["path"][:2] == ["00000000_0.jpg", "00000000_1.jpg"]).all()
    assert ((faces["kind"] == "none") == (faces["severity"] == 0)).all()


def test_comparisons_are_half_of_one_person_and_none_twice(figures, faces):
    lines = [line.split("\t") for line in figures.comparisons(faces, 400).splitlines()]
    person = dict(zip(faces["path"], faces["person"], strict=True))
    assert len({frozenset(line[:2]) for line in lines}) == len(lines) == 400
    same = [person[first] == person[second] for first, second, _ in lines]
    assert same == [line[2] == "1" for line in lines] and sum(same) == 200
    assert {name for line in lines for name in line[:2]} == set(person)
    assert {frozenset((person[a], person[b])) for a, b, _ in lines} == {
        frozenset((a, b)) for a in range(1, 9) for b in range(1, 9)
    }


def test_correlations_tell_kinds_apart(figures, faces):
    # A magnitude that falls with blur, rises with noise, and knows nothing of the others.
    rng = np.random.default_rng(0)
    slope = np.select([faces["kind"] == "blur", faces["kind"] == "noise"], [-5.0, 5.0], 0.0)
    magnitude = 10 + slope * faces["severity"] + rng.uniform(0, 0.01, len(slope))
    found = figures.correlations(faces, magnitude)
    assert found["blur"]["rho"] < -0.95 and found["noise"]["rho"] > 0.95
    assert -0.6 < found["darkness"]["rho"] < 0.6 and -0.6 < found["all"]["rho"] < 0.6
    assert found["all"]["images"] == 120
    assert sum(found[kind]["images"] for kind in KINDS) == (faces["kind"] != "none").sum()
    for cell in found.values():
        assert cell["low"] <= cell["rho"] <= cell["high"]


def curve(fnmrs, resolved=2):
    points = [
        {"reject": 0.05 * place, "fnmr": fnmr, "resolved": place <= resolved}
        for place, fnmr in enumerate(fnmrs)
    ]
    areas = {"area": {"mean_fnmr": 0.1}, "partial_area": {"mean_fnmr": 0.15}}
    named = {"model": "MagFace", "measure": "magnitude", "fmr": 1e-2, "threshold": "fixed"}
    return {**named, "ended": None, "points": points, **areas}


def test_areas_are_told_as_shares_of_the_whole_set_s_fnmr(figures):
    found = figures.curve_summary(curve([0.2, 0.1, 0.05, 0.02]))
    assert found["relative_area"] == pytest.approx(0.5)
    assert found["relative_partial_area"] == pytest.approx(0.75)
    assert found["fnmr"] == [0.2, 0.1, 0.05, 0.02] and found["resolved_to"] == pytest.approx(0.1)
    assert figures.curve_summary(curve([0.2, 0.1], resolved=-1))["resolved_to"] is None
    # No error to reject: nothing to be a share of.
    assert figures.curve_summary(curve([0.0, 0.0]))["relative_area"] is None


def test_text_and_json_say_what_was_found(figures, faces):
    magnitude = 10 - faces["severity"]
    cells = figures.correlations(faces, magnitude)
    fixed = figures.curve_summary(curve([0.2, 0.1, 0.1, 0.1, 0.05]))
    result = {
        "correlation": {"MagFace": cells, "ArcFace": figures.correlations(faces, -magnitude)},
        "accuracy": {name: {"accuracy": 0.91234, "std": 0.01} for name in NETWORKS},
        "curves": [fixed, {**fixed, "model": "ArcFace", "ended": "too few"}],
    }
    text = figures.text_of(result, NETWORKS)
    all_kinds = next(line for line in text.splitlines() if line.startswith("  all "))
    assert "MagFace -1.000 (-1.000 to -1.000)" in all_kinds and "ArcFace +1.000" in all_kinds
    rows = [line.split() for line in text.splitlines() if line.startswith("1e-2")]
    named = ["1e-2", "fixed", "magnitude"]
    assert rows[0] == [*named, "MagFace", "0.200", "0.250", "-", "0.750", "0.500"]
    assert rows[1][3] == "ArcFace" and rows[1][-3:] == ["ends:", "too", "few"]
    text = figures.json_of([result])
    assert "[0.2, 0.1, 0.1, 0.1, 0.05]" in text
    (back,) = json.loads(text)["seeds"]
    assert back["correlation"]["ArcFace"]["blur"]["rho"] == pytest.approx(1)
    assert back["accuracy"]["MagFace"]["accuracy"] == 0.91234


@pytest.mark.slow
def test_the_whole_of_it_on_few_faces(tmp_path):
    size = ["--identities", "8", "--images_per_identity", "8", "--eval_identities", "6"]
    size += ["--pairs", "300", "--comparisons", "800", "--epochs", "1", "--seeds", "3"]
    options = "--folder", "run", *size, "--pictures", "beside"
    done = python(TOOLS / "quality_experiment.py", *options, cwd=tmp_path, timeout=300)
    assert "=== seed 3" in done.stdout and "Spearman" in done.stdout
    (seed,) = json.loads((tmp_path / "beside" / "figures.json").read_text())["seeds"]
    assert seed["seed"] == 3
    assert {(c["model"], c["measure"]) for c in seed["curves"]} == {
        (network, measure)
        for network in NETWORKS
        for measure in ("magnitude", "random", "severity")
    }
    for network in NETWORKS:
        assert set(seed["correlation"][network]) == {"all", *KINDS}
        for kind in KINDS:
            mean = seed["series"][network]["mean"][kind]
            assert len(mean) == len(seed["series"]["severities"]) and min(mean) > 0
    for name in ("error_reject", "magnitude_severity", "series", "sheet"):
        assert cv2.imread(str(tmp_path / "beside" / f"{name}.png")).std() > 10
