"""`plsc-data check` and `inspect` of photographs with marked faces."""

import json
from functools import partial

import pytest
import yaml
from marked_faces import write_marked_faces
from places import SHARED_DATA
from refusals import error_line
from small_runs import forked

from plsc.config.component import Component
from plsc.config.registry import DATASETS


@pytest.fixture
def plsc_data(tmp_path):
    return partial(forked, "plsc-data", cwd=tmp_path)


@pytest.fixture
def labels(tmp_path):
    """Eight sound pictures, 96 high and 120 wide."""
    return write_marked_faces(tmp_path / "set", 8)


def findings(done):
    return {entry["kind"]: entry for entry in json.loads(done.stdout)["findings"]}


def test_a_sound_set(plsc_data, labels):
    done = plsc_data("check", labels, "--json")
    report = json.loads(done.stdout)
    assert report["fit"] and not report["findings"]
    assert (report["num_images"], report["num_faces"]) == (8, 12)
    assert "8 images, 12 marked faces" in plsc_data("check", labels.parent).stdout


@pytest.mark.parametrize(
    ("line", "kind", "status"),
    [
        ("200 10 20 20", "face_outside", 1),
        ("110 10 30 20", "face_outside", 1),
        ("-5 10 20 20", "face_beyond_edge", 0),
        ("90 10 40 20", "face_beyond_edge", 0),
        ("10 10 0 20", "face_without_size", 0),
        ("10 10 20 20 30 12 0 30 12 0 51 12 0 30 12 0 30 12 0 0.9", "landmarks_far_outside", 0),
        ("50 50 20 20\n50 50 20 20", "duplicate_face", 0),
    ],
)
def test_what_is_wrong_with_a_face(plsc_data, labels, line, kind, status):
    labels.write_text(f"{labels.read_text()}{line}\n")
    done = plsc_data("check", labels, "--json", status=status)
    found = findings(done)
    assert set(found) == {kind} and found[kind]["count"] == 1
    (place,) = found[kind]["places"]
    lines = [text for text in labels.read_text().splitlines() if text.startswith("#")]
    assert lines[-1][2:] in place["images"][0]["where"]
    assert "width" in place["detail"]


def test_what_is_allowed(plsc_data, labels):
    """A pixel beyond the edge, from rounding, and a landmark a little beside its box."""
    text = "101 10 20 20 98 12 0 110 12 0 110 20 0 105 28 0 115 28 0 0.9"
    labels.write_text(f"{labels.read_text()}{text}\n")
    assert not findings(plsc_data("check", labels, "--json"))


def test_what_is_wrong_with_pictures(plsc_data, labels):
    images = labels.parent / "images"
    (images / "3.png").write_bytes((images / "1.png").read_bytes())
    (images / "5.png").write_bytes(b"no picture")
    labels.write_text(f"{labels.read_text()}# 6.png\n1 1 0 0\n")
    found = findings(plsc_data("check", labels, "--json", "--num_workers=2", status=1))
    assert set(found) == {"unreadable", "duplicate_picture", "face_without_size", "no_face"}
    assert found["unreadable"]["severity"] == "fault"
    wheres = {str(image["where"]) for place in found["duplicate_picture"]["places"]
              for image in place["images"]}  # fmt: skip
    assert len(wheres) == 4 and any("1.png" in where for where in wheres)


def test_inspect(plsc_data, labels):
    report = json.loads(plsc_data("inspect", labels, "--json").stdout)
    assert (report["num_images"], report["num_faces"]) == (8, 12)
    assert report["num_faces_with_landmarks"] == 8
    assert sum(row["faces"] for row in report["sizes"]) == 12
    assert all(row["faces"] == 0 or 8 <= row["from"] <= 32 for row in report["sizes"])
    place = report["config"]["DataLoader"]["Train"]["dataset"]
    params = {key: value for key, value in place.items() if key != "name"}
    assert len(Component(place["name"], params, "dataset").build(DATASETS)) == 8
    text = plsc_data("inspect", labels).stdout
    assert "12, 8 with landmarks" in text
    assert yaml.safe_load(text[text.index("Global:") :]) == report["config"]


def test_damaged_lists_and_options_of_other_sets(plsc_data, labels):
    done = plsc_data("check", labels, "--class_num=5", status=2)
    assert "--class_num is for sets of identities" in error_line(done.stderr, "plsc-data")
    labels.write_text(f"{labels.read_text()}1 2 3\n")
    done = plsc_data("inspect", labels, status=2)
    assert "3 numbers" in error_line(done.stderr, "plsc-data")


def test_a_real_set(plsc_data):
    folder = SHARED_DATA / "widerface_mini"
    if not folder.exists():
        pytest.skip("a small WIDER FACE (../shared/data/widerface_mini) is not here")
    found = findings(plsc_data("check", folder / "train", "--json"))
    assert {kind: entry["count"] for kind, entry in found.items()} == {
        "face_without_size": 3,
        "no_face": 2,
    }
    report = json.loads(plsc_data("inspect", folder / "train", "--json").stdout)
    assert (report["num_faces"], report["num_images_to_train_on"]) == (16, 5)
