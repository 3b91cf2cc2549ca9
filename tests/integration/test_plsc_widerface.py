"""`plsc-widerface`: AP of the official evaluation, whatever is missing."""

import json
import shutil
import zipfile
from functools import partial

import numpy as np
import pytest
from places import GOLDEN
from refusals import error_line
from small_runs import forked

from plsc.detection.widerface.average_precision import Curve, Matches, curves_of
from plsc.detection.widerface.ground_truth import SETS, MarkedImage, read_ground_truth
from plsc.detection.widerface.predictions import read_prediction

pytest.importorskip("scipy")


@pytest.fixture
def release(tmp_path):
    """The made-up ground truth and predictions of the golden figures."""
    with zipfile.ZipFile(GOLDEN / "detection" / "wider.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path


@pytest.fixture
def widerface(release):
    line = ["--predictions", "predictions", "--ground-truth", "ground_truth", "--json", "out.json"]
    return partial(forked, "plsc-widerface", *line, cwd=release)


def test_figures_of_the_references(release, widerface):
    """An event without easy faces, images without faces or detections, neutral best detection."""
    done, expected = widerface(), json.loads((release / "expected.json").read_text())
    found = json.loads((release / "out.json").read_text())
    for key in SETS:
        assert found[key] == pytest.approx(expected[key], abs=1e-9)
        assert f"{key.capitalize():<7} AP {expected[key]:.4f}" in done.stdout
    assert found["missing"] == [] and found["num_images"] == 60
    assert found["protocol"]["iou"] == 0.5


def test_curves_of_the_references(release):
    expected = json.loads((release / "expected.json").read_text())
    images = read_ground_truth(release / "ground_truth")
    folder = release / "predictions"
    boxes = [read_prediction(folder / image.event / f"{image.name}.txt") for image in images]
    curves, places = curves_of(images, boxes), expected["curve_threshold_index"]
    for key in SETS:
        precision = np.array(expected["precision"][key], np.float64)  # null is nan
        np.testing.assert_allclose(curves[key].recall[places], expected["recall"][key], atol=1e-9)
        np.testing.assert_allclose(curves[key].precision[places], precision, atol=1e-9)
    # The order of lines in a file does not matter.
    turned = curves_of(images, [rows[::-1] for rows in boxes])
    assert turned["hard"].average_precision == pytest.approx(expected["hard"], abs=1e-9)


def test_missing_files_count_as_no_detection(release, widerface):
    files = sorted((release / "predictions").glob("*/*.txt"))
    shutil.copy(files[0], files[0].with_name("unknown.txt"))
    for path in files[:3]:
        path.unlink()
    done = widerface()
    found = json.loads((release / "out.json").read_text())
    assert found["missing"] == [f"{path.parent.name}/{path.stem}" for path in files[:3]]
    assert found["not_in_ground_truth"] == [f"{files[0].parent.name}/unknown"]
    assert f"3 images have no file and count as without a detection: {found['missing'][0]}" in (
        done.stdout
    )
    expected = json.loads((release / "expected.json").read_text())
    assert found["hard"] < expected["hard"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name\n2\n1 2 3 4 0.5\n", "5 numbers behind the first two lines, 2 boxes"),
        ("name\n1\n1 2 3 x 0.5\n", "lines `x y width height score`"),
        ("name\nmany\n", "not a name, a number of boxes"),
        ("name\n1\n1 2 3 4 nan\n", "not finite"),
    ],
)
def test_damaged_files(release, widerface, content, said):
    path = next((release / "predictions").glob("*/*.txt"))
    path.write_text(content)
    line = error_line(widerface(status=2).stderr, "plsc-widerface")
    assert path.name in line and said in line


def test_what_is_not_there(release, widerface):
    shutil.rmtree(release / "predictions" / "0--Parade")
    for path in (release / "predictions").iterdir():
        shutil.rmtree(path)
    line = error_line(widerface(status=2).stderr, "plsc-widerface")
    assert "has a file for none of the 60 images" in line
    (release / "ground_truth" / "wider_easy_val.mat").unlink()
    line = error_line(widerface(status=2).stderr, "plsc-widerface")
    assert "wider_easy_val.mat: no such file" in line


def image(boxes, counted):
    flags = {key: np.array(counted, bool) for key in SETS}
    return MarkedImage("e", "i", np.array(boxes, np.float64).reshape(-1, 4), flags)


def test_rules():
    """Worked by hand: a find, a second box on it, a box on an ignored face, one on nothing."""
    matches = Matches()
    matches.add(image([[0, 0, 9, 9], [50, 50, 9, 9], [90, 90, 9, 9]], [1, 0, 1]), np.array([
        [0, 0, 9, 9, 1.0], [1, 0, 9, 9, 0.75], [50, 50, 9, 9, 0.5], [200, 200, 9, 9, 0.25],
        [90, 90, 9, 9, 0.0],
    ]))  # fmt: skip
    curve = matches.curve("easy")
    assert curve.num_faces == 2
    np.testing.assert_allclose(curve.recall[[0, 248, 250, 748, 750, 999]], [0.5] * 5 + [1.0])
    expected = [1.0, 1.0, 1 / 2, 1 / 2, 1 / 3, 2 / 4]
    np.testing.assert_allclose(curve.precision[[0, 248, 250, 748, 750, 999]], expected)
    assert curve.average_precision == pytest.approx(0.5 * 1.0 + 0.5 * 0.5)


def test_thresholds_without_a_box_take_no_part():
    curve = Curve(np.array([np.nan, 0.5]), np.array([0.0, 0.4]), 5)
    assert curve.average_precision == pytest.approx(0.2)
    empty = curves_of([image([[0, 0, 9, 9]], [1])], [np.zeros((0, 5))])["hard"]
    assert empty.average_precision == 0 and empty.num_faces == 1
