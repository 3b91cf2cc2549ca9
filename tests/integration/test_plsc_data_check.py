"""`plsc-data check`, `inspect` and `pairs` as users call them, on files of every format."""

import json
import pickle
from functools import partial

import cv2
import numpy as np
import pytest
from refusals import error_line
from small_runs import forked

from plsc.data.records.recordio import RecordWriter


@pytest.fixture
def plsc_data(tmp_path):
    return partial(forked, "plsc-data", cwd=tmp_path)


def image(number, ending=".jpg", side=112):
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return cv2.imencode(ending, cv2.resize(small, (side, side)))[1].tobytes()


def sound_rows(identities=6, each=4):
    return [[image(number), number // each] for number in range(identities * each)]


def write(kind, rows, folder):
    """The rows as a list, a record file, or folders; what to call them on a command line."""
    if kind == "records":
        folder.mkdir()
        with RecordWriter(folder / "train.rec") as writer:
            for key, (content, label) in enumerate(rows):
                writer.write(key, content, labels=float(label))
        return folder
    for number, (content, label) in enumerate(rows):
        path = folder / f"{label:03d}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if kind == "list":
        lines = [
            f"{label:03d}/{number:05d}.jpg\t{label}\n" for number, (_, label) in enumerate(rows)
        ]
        (folder / "label.txt").write_text("".join(lines))
    return folder


def planted_rows():
    rows = sound_rows()
    rows[1][0] = image(1)[:-40]  # cut short
    rows[2][0] = image(2, side=96)
    rows[5][0] = cv2.imencode(".png", np.full((112, 112, 3), 128, np.uint8))[1].tobytes()
    rows[9][0] = rows[10][0]  # twice in identity 2
    rows[13][0] = rows[0][0]  # identities 3 and 0
    rows[20:] = [[rows[20][0], 7], *([content, 8] for content, _ in rows[21:])]
    return rows  # 5 and 6 have no images, 7 has one


EXPECTED = {
    "unreadable": ("fault", 1),
    "wrong_size": ("fault", 1),
    "blank": ("fault", 1),
    "missing_labels": ("fault", 2),
    "duplicate_across_identities": ("fault", 1),
    "leak": ("fault", 2),
    "single_image": ("warning", 1),
    "duplicate_in_identity": ("warning", 1),
}


@pytest.fixture
def verification(tmp_path):
    """A .bin that holds two training images, one of them as PNG of the same pixels."""
    pixels = cv2.imdecode(np.frombuffer(image(16), np.uint8), cv2.IMREAD_COLOR)
    images = [image(15), image(900), cv2.imencode(".png", pixels)[1].tobytes(), image(900)]
    (tmp_path / "val.bin").write_bytes(pickle.dumps((images, [True, False]), 4))
    return tmp_path / "val.bin"


@pytest.mark.parametrize("kind", ["records", "list"])
def test_all_faults_at_once(plsc_data, tmp_path, verification, kind):
    place = write(kind, planted_rows(), tmp_path / "set")
    report_path = tmp_path / "report.json"
    done = plsc_data("check", place, "--val", verification, "--report", report_path, status=1)
    report = json.loads(report_path.read_text())
    found = {item["kind"]: (item["severity"], item["count"]) for item in report["findings"]}
    assert found == EXPECTED and list(found) == list(EXPECTED) and report["fit"] is False
    assert report["verification"] == [{"path": str(verification), "num_images": 4}]
    for item in report["findings"]:
        assert f"{item['severity']}: {item['kind']}: {item['count']} " in done.stdout
        assert f"to do: {item['remedy']}" in done.stdout
        for entry in item["places"]:
            for shown in entry["images"]:
                assert shown["where"] in done.stdout
    places = {item["kind"]: item["places"] for item in report["findings"]}
    assert [shown["index"] for shown in places["unreadable"][0]["images"]] == [1]
    expected = "train.rec: record 1: byte " if kind == "records" else "label.txt:2)"
    assert expected in places["unreadable"][0]["images"][0]["where"]
    assert [[shown["index"] for shown in entry["images"]] for entry in places["leak"]] == [
        [15, 0],
        [16, 2],
    ]
    assert done.stdout.endswith("not fit to train on: 6 kinds of fault, 2 of warning\n")

    printed = plsc_data("check", place, "--val", verification, "--json", status=1).stdout
    assert json.loads(printed) == report


@pytest.mark.parametrize("kind", ["records", "list", "folder"])
def test_a_sound_set_is_fit(plsc_data, tmp_path, kind):
    place = write(kind, sound_rows(), tmp_path / "set")
    done = plsc_data("check", place, "--class_num", 6)
    assert done.stdout.endswith("fit to train on: 0 kinds of fault, 0 of warning\n")
    done = plsc_data("check", place, "--class_num", 5, "--json", status=1)
    (finding,) = json.loads(done.stdout)["findings"]
    assert (finding["kind"], finding["count"]) == ("label_beyond_class_num", 4)


def test_the_real_faces_are_fit(plsc_data, real_faces):
    done = plsc_data("check", real_faces, "--val", real_faces / "orl_test.bin", "--class_num", 30)
    assert "fit to train on: 0 kinds of fault, 0 of warning" in done.stdout
    done = plsc_data("inspect", real_faces, "--json")
    report = json.loads(done.stdout)
    assert (report["num_images"], report["num_identities"], report["class_num"]) == (300, 30, 30)
    assert report["sample"]["sizes"] == {"112x112": 300}


def test_pairs_of_the_set_leak_and_pairs_of_others_do_not(plsc_data, tmp_path, real_faces):
    plsc_data("pairs", real_faces, tmp_path / "own.bin", "--num_pairs", 200)
    plsc_data("pairs", tmp_path / "own.bin", tmp_path / "apart")
    for place in ("own.bin", "apart", "apart/label.txt"):
        done = plsc_data("check", real_faces, "--val", tmp_path / place, "--json", status=1)
        (finding,) = json.loads(done.stdout)["findings"]
        images, _ = pickle.loads((tmp_path / "own.bin").read_bytes(), encoding="bytes")
        assert (finding["kind"], finding["count"]) == ("leak", len(set(images)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "nowhere"], "nowhere: no such file or folder"),
        (["check", "set", "--val", "nowhere.bin"], "nowhere.bin: "),
        (["check", "set", "--class_num", "0"], "--class_num must be at least 1, got 0"),
        (["check", "set", "--report", "no/report.json"], "no/report.json: cannot be written"),
        (["check", "set", "--workers", "0"], "--num-workers must be at least 1"),
    ],
)
def test_mistakes_end_in_one_line(plsc_data, tmp_path, arguments, message):
    write("folder", sound_rows(), tmp_path / "set")
    done = plsc_data(*arguments, status=2)
    assert message in error_line(done.stderr, "plsc-data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
