import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from plsc.data.dataset.tools import render_synthetic_faces
from plsc.data.dataset.tools.render_synthetic_faces import main
from plsc.data.transforms.degrade import KINDS, degrade
from plsc.datatools.drawn_face.picture_plan import (
    DatasetSize,
    degradation_of,
    eval_pictures,
    train_pictures,
)
from plsc.datatools.drawn_face.render import Identity, View, render_face
from plsc.recognition.datasets.face import FaceIdentificationDataset, FaceVerificationDataset

SIZE = {"identities": 3, "images_per_identity": 4, "eval_identities": 5, "pairs": 12, "seed": 7}


def arguments(folder, **changes):
    options = {"output_dir": folder, **SIZE, "workers": 1, **changes}
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered") / "faces"
    assert main(arguments(folder)) == 0
    return folder


@pytest.fixture(scope="module")
def table(rendered):
    with (rendered / "landmarks.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_lists_and_counts(rendered):
    lines = (rendered / "train" / "label.txt").read_text().splitlines()
    expected = [f"images/{i + 1:08d}.jpg\t{i // 4}" for i in range(12)]
    assert lines == expected
    pairs = [line.split("\t") for line in (rendered / "val" / "label.txt").read_text().splitlines()]
    assert [row[:2] for row in pairs] == [
        [f"images/{i:08d}_0.jpg", f"images/{i:08d}_1.jpg"] for i in range(12)
    ]
    assert [row[2] for row in pairs] == ["1", "0"] * 6
    readme = (rendered / "README.md").read_text()
    for line in ("num_image: 12", "num_classes: 3", "num_pairs: 12", "num_eval_classes: 5"):
        assert line in readme.splitlines()
    sheet = cv2.imread(str(rendered / "contact_sheet.png"))
    assert sheet.shape == (3 * 112, 4 * 112, 3)
    assert len(list((rendered / "train" / "images").iterdir())) == 12
    assert len(list((rendered / "val" / "images").iterdir())) == 24


def test_the_people_of_the_pairs_are_strangers_and_the_labels_true(rendered, table):
    person = {row["path"]: int(row["person"]) for row in table}
    assert len(person) == 12 + 24
    training = {value for path, value in person.items() if path.startswith("train/")}
    held_out = {value for path, value in person.items() if path.startswith("val/")}
    assert training == {0, 1, 2} and held_out == {3, 4, 5, 6, 7}
    for line in (rendered / "val" / "label.txt").read_text().splitlines():
        first, second, same = line.split("\t")
        assert (person[f"val/{first}"] == person[f"val/{second}"]) == (same == "1")
    views = {(row["person"], row["seed"]) for row in table}
    assert len(views) == len(table)  # no image twice


def test_the_table_says_where_the_face_is_and_how_it_was_drawn(rendered, table):
    for row in (table[5], table[-1]):
        person = int(row["person"])
        image_number = next(
            k
            for k in (*range(4), *range(2 * SIZE["pairs"]))
            if str(View.sample(7, person, k).seed) == row["seed"]
        )
        view = View.sample(7, person, image_number)
        image, landmarks, box = render_face(Identity.sample(7, person), view)
        names = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
        written = [[float(row[f"{name}_{axis}"]) for axis in "xy"] for name in names]
        np.testing.assert_allclose(written, landmarks, atol=0.006)
        np.testing.assert_allclose(
            [float(row[n]) for n in ("x1", "y1", "x2", "y2")], box, atol=0.006
        )
        assert abs(float(row["yaw"]) - view.yaw) < 0.01
        assert int(row["jpeg_quality"]) == view.jpeg_quality
        stored = cv2.imread(str(rendered / row["path"]))[..., ::-1]
        assert np.abs(stored.astype(int) - image).mean() < 8  # JPEG of noisy pictures


def test_the_datasets_read_it(rendered):
    train = FaceIdentificationDataset(
        str(rendered / "train"), str(rendered / "train" / "label.txt")
    )
    assert len(train) == 12 and train.source.num_classes == 3
    sample = train.get(11, np.random.default_rng(0))
    image, label = sample["images"], sample["labels"]
    assert image.shape == (112, 112, 3) and label == 2
    pairs = FaceVerificationDataset(str(rendered / "val"), str(rendered / "val" / "label.txt"))
    assert len(pairs) == 24 and pairs.issame.tolist() == [True, False] * 6


def test_a_second_run_skips_and_another_size_is_refused(rendered, capsys):
    before = digests(rendered)
    assert main(arguments(rendered)) == 0
    assert "already rendered" in capsys.readouterr().out
    assert main(arguments(rendered, pairs=14)) == 2
    message = capsys.readouterr().err
    assert "pairs 12" in message and message.count("\n") == 1
    assert digests(rendered) == before


@pytest.fixture(scope="module")
def degraded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("degraded") / "faces"
    assert main(arguments(folder, degrade=0.8)) == 0
    return folder


@pytest.fixture(scope="module")
def severities(degraded):
    with (degraded / "severity.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class TestDegraded:
    def test_the_table_names_every_image_in_order(self, degraded, severities, table):
        assert [row["path"] for row in severities] == [row["path"] for row in table]
        assert list(severities[0]) == ["path", "kind", "severity"]

    def test_each_is_the_plain_picture_spoilt_as_the_table_says(self, degraded, severities):
        assert {row["kind"] for row in severities} == {"none", *KINDS}
        size = DatasetSize(**SIZE, degrade=0.8)
        for row, picture in zip(
            severities, [*train_pictures(size), *eval_pictures(size)[0]], strict=True
        ):
            view = View.sample(7, picture.person, picture.image)
            image, _, _ = render_face(Identity.sample(7, picture.person), view)
            rng = degradation_of(size, picture)[2]
            if row["kind"] != "none":
                image = degrade(image, row["kind"], float(row["severity"]), rng)
            quality = [cv2.IMWRITE_JPEG_QUALITY, view.jpeg_quality]
            encoded = cv2.imencode(".jpg", image[..., ::-1], quality)[1].tobytes()
            assert (degraded / row["path"]).read_bytes() == encoded, row

    def test_those_that_are_not_spoilt_are_the_plain_set_s(self, rendered, degraded, severities):
        for row in severities:
            files = [(folder / row["path"]).read_bytes() for folder in (rendered, degraded)]
            severity = float(row["severity"])
            if severity == 0 or severity > 0.1:  # a blur of a tenth of a pixel is none
                assert (files[0] == files[1]) == (severity == 0), row

    def test_the_lists_are_those_of_the_plain_pictures(self, rendered, degraded):
        for name in ("train/label.txt", "val/label.txt", "landmarks.csv"):
            assert (rendered / name).read_bytes() == (degraded / name).read_bytes()
        assert "severity.csv" in (degraded / "README.md").read_text()
        assert json.loads((degraded / "dataset.json").read_text())["degrade"] == 0.8

    def test_several_processes_give_the_same_files(self, degraded, tmp_path):
        assert main(arguments(tmp_path / "faces", degrade=0.8, workers=2)) == 0
        assert digests(tmp_path / "faces") == digests(degraded)

    def test_is_neither_the_plain_set_nor_another_share(self, rendered, degraded, capsys):
        assert main(arguments(degraded, degrade=0.8)) == 0
        assert "already rendered" in capsys.readouterr().out
        for folder, share, word in (
            (degraded, 0, "degrade 0.8"),
            (degraded, 0.5, "degrade 0.8"),
            (rendered, 0.8, "degrade None"),
        ):
            assert main(arguments(folder, degrade=share)) == 2
            message = capsys.readouterr().err
            assert word in message and message.count("\n") == 1

    def test_shares_and_severities_are_even(self):
        size = DatasetSize(100, 30, 0, 0, seed=3, degrade=0.8)
        drawn = [degradation_of(size, picture)[:2] for picture in train_pictures(size)]
        kinds = [kind for kind, _ in drawn]
        for kind in ("none", *KINDS):
            assert abs(kinds.count(kind) / len(kinds) - 0.2) < 0.03, kind
            values = [severity for name, severity in drawn if name == kind]
            assert kind != "none" or set(values) == {0.0}
            if kind != "none":
                quarters = np.histogram(values, bins=4, range=(0, 1))[0] / len(values)
                assert np.abs(quarters - 0.25).max() < 0.06, kind


def test_nothing_is_said_of_severity_without_the_option(rendered):
    assert not (rendered / "severity.csv").exists()
    assert "degrade" not in json.loads((rendered / "dataset.json").read_text())
    assert "severity" not in (rendered / "README.md").read_text()


def test_a_folder_of_other_things_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(arguments(tmp_path)) == 2
    assert "holds other files" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_pairs_there_is_no_val(tmp_path):
    folder = tmp_path / "deeper" / "faces"
    assert main(arguments(folder, pairs=0, eval_identities=0)) == 0
    assert not (folder / "val").exists() and (folder / "train" / "label.txt").exists()


@pytest.mark.parametrize(
    "change, word",
    [
        ({"identities": 0}, "--identities"),
        ({"pairs": -1}, "--pairs"),
        ({"eval_identities": 1}, "--eval_identities"),
        ({"workers": 0}, "--num-workers"),
        ({"degrade": 1.5}, "--degrade"),
        ({"degrade": "nan"}, "--degrade"),
    ],
)
def test_impossible_sizes_are_one_line(tmp_path, capsys, change, word):
    assert main(arguments(tmp_path / "faces", **change)) == 2
    message = capsys.readouterr().err
    assert word in message and str(next(iter(change.values()))) in message
    assert message.count("\n") == 1 and not (tmp_path / "faces").exists()


def test_a_failure_leaves_nothing(tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(render_synthetic_faces, "_write_sheet", broken)
    assert main(arguments(tmp_path / "faces")) == 2
    assert "No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_leaves_nothing_that_passes_for_whole(tmp_path):
    folder = tmp_path / "faces"
    command = [sys.executable, "-m", "plsc.data.dataset.tools.render_synthetic_faces"]
    process = subprocess.Popen(
        [*command, *arguments(folder, identities=500)],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("faces.partial-*/train/images/*.jpg")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not folder.exists()
    assert main(arguments(folder)) == 0
    assert json.loads((folder / "dataset.json").read_text())["identities"] == 3
