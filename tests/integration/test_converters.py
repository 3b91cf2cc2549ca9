"""The two converter commands, as users run them."""

import os
import pickle
import signal
import sys

import cv2
import numpy as np
import pytest
from commands import ran, stopped
from pickles import Calls
from pictures import noise
from refusals import error_line

from plsc.data.records.recordio import RecordWriter
from plsc.recognition.datasets.face import FaceIdentificationDataset, FaceVerificationDataset

TOOLS = "plsc.data.dataset.tools"


def command(tool, *arguments):
    return [sys.executable, "-m", f"{TOOLS}.{tool}", *map(str, arguments)]


def extract_records(root, output, status=0):
    arguments = ["--root_dir", root, "--output_dir", output]
    return ran(*command("mx_recordio_2_images", *arguments), status=status)


def extract_pairs(path, output, *options, status=0):
    arguments = ["--bin_path", path, "--out_dir", output, *options]
    return ran(*command("lfw_style_bin_dataset_converter", *arguments), status=status)


def refused(extract, given, output, *texts):
    """Exit status 2 and one line that holds all of these texts."""
    tools = {extract_records: "mx_recordio_2_images"}
    tool = tools.get(extract, "lfw_style_bin_dataset_converter")
    line = error_line(extract(given, output, status=2).stderr, tool)
    assert all(text in line for text in texts), line


LABELS = [0, 1, 2, 2, 4]


@pytest.fixture
def records(tmp_path):
    """A set in InsightFace's layout: 5 images of 4 classes, one of them with several labels."""
    root = tmp_path / "records"
    root.mkdir()
    with RecordWriter(root / "train.rec") as writer:
        writer.write(0, b"", labels=[6, 10])
        for key, label in enumerate(LABELS, start=1):
            writer.write(key, noise(key), labels=[label, 0.5] if key == 3 else label)
        for key in range(6, 10):
            writer.write(key, b"", labels=[1, 2])
    (root / "lfw.bin").write_bytes(b"pairs")
    return root


def test_records_become_their_own_bytes_and_a_list(records, tmp_path):
    output = tmp_path / "new" / "images"
    done = extract_records(records, output)
    assert done.stdout == "num_image: 5\nnum_classes: 4\nModel.class_num: 5 or more\n"
    assert "100%" in done.stderr
    assert (output / "README.md").read_text() == done.stdout
    assert (output / "lfw.bin").read_bytes() == b"pairs"
    files = sorted(path.name for path in (output / "images").iterdir())
    assert files == [f"{key:08d}.jpg" for key in range(1, 6)]
    for key in range(1, 6):
        assert (output / "images" / f"{key:08d}.jpg").read_bytes() == noise(key)
    lines = [f"images/{key:08d}.jpg\t{label}\n" for key, label in enumerate(LABELS, start=1)]
    assert (output / "label.txt").read_text() == "".join(lines)
    dataset = FaceIdentificationDataset(str(output), str(output / "label.txt"))
    assert [dataset.get(row, np.random.default_rng(0))["labels"] for row in range(5)] == LABELS
    assert [path.name for path in output.parent.iterdir()] == ["images"]
    assert output.stat().st_mode == records.stat().st_mode  # readable to whom any new folder is


def test_records_without_a_header_keep_their_keys(golden, tmp_path):
    for suffix in ("rec", "idx"):
        content = (golden / "recordio_cases" / f"no_header.{suffix}").read_bytes()
        (tmp_path / f"train.{suffix}").write_bytes(content)
    extract_records(tmp_path, tmp_path / "out")
    expected = {"00000000.jpg": "0", "00000002.jpg": "0", "00000005.jpg": "1", "00000009.jpg": "1"}
    rows = [line.split("\t") for line in (tmp_path / "out" / "label.txt").read_text().splitlines()]
    assert {path.removeprefix("images/"): label for path, label in rows} == expected


def offset_of(root, key):
    return int(dict(line.split() for line in (root / "train.idx").read_text().splitlines())[key])


def test_a_truncated_or_corrupt_file_is_one_line_and_no_folder(records, tmp_path):
    whole = (records / "train.rec").read_bytes()
    size = offset_of(records, "4") + 100
    (records / "train.rec").write_bytes(whole[:size])
    place = f"train.rec: record 4: byte {offset_of(records, '4') + 8}: "
    refused(extract_records, records, tmp_path / "out", str(records), place, f"has {size}: trunc")

    corrupt = bytearray(whole)
    corrupt[offset_of(records, "5")] ^= 1
    (records / "train.rec").write_bytes(corrupt)
    place = f"train.rec: record 5: byte {offset_of(records, '5')}: no record begins here"
    refused(extract_records, records, tmp_path / "out", place)

    (records / "train.rec").write_bytes(whole)
    (records / "train.idx").write_text("0\t0\n1\tx\n")
    refused(extract_records, records, tmp_path / "out", "train.idx:2: must be a key and a byte")
    assert [path.name for path in tmp_path.iterdir()] == ["records"]  # nothing half-written either


def test_missing_files_and_full_folders_are_refused(records, tmp_path):
    out = tmp_path / "out"
    refused(extract_records, tmp_path / "nowhere", out, "nowhere/train.rec", "No such file")
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    refused(extract_records, records, out, "out: exists and is not an empty folder; remove it")
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    (out / "mine.txt").unlink()
    extract_records(records, out)  # into an empty folder
    refused(extract_records, records, out, "out: exists and is not an empty folder")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_conversion_leaves_nothing_that_passes_for_whole(tmp_path, number):
    with RecordWriter(tmp_path / "train.rec") as writer:
        for key in range(100_000):
            writer.write(key, b"image", labels=0)
    arguments = ["--root_dir", tmp_path, "--output_dir", tmp_path / "out"]
    line = command("mx_recordio_2_images", *arguments)
    begun = "out.partial-*/images/00000100.jpg"
    stopped(line, number, when=lambda: list(tmp_path.glob(begun)))
    assert not (tmp_path / "out").exists()
    left = list(tmp_path.glob("out.partial-*"))
    assert len(left) == (1 if number == signal.SIGKILL else 0)


PIXELS = np.random.default_rng(1).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8)


@pytest.fixture
def pairs(tmp_path):
    """Two pairs as a `.bin` file; the images are PNG, so that their pixels are known."""
    images = [cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes() for pixels in PIXELS]
    (tmp_path / "pairs.bin").write_bytes(pickle.dumps((images, [True, False])))
    return tmp_path / "pairs.bin"


def read_rgb(path):
    return cv2.imread(str(path))[:, :, ::-1]


@pytest.mark.parametrize("options", [[], ["--flip_test"]])
def test_pairs_become_png_files_and_a_list(pairs, tmp_path, options):
    output = tmp_path / "out"
    done = extract_pairs(pairs, output, *options)
    assert done.stdout == "num_pairs: 2\n"
    plain = (
        "images/00000000_0.png\timages/00000000_1.png\t1\n"
        "images/00000001_0.png\timages/00000001_1.png\t0\n"
    )
    mirrored = plain.replace(".png", "_hflip.png") if options else ""
    assert (output / "label.txt").read_text() == plain + mirrored
    assert len(list((output / "images").iterdir())) == (8 if options else 4)
    for number, pixels in enumerate(PIXELS):
        stem = f"{number // 2:08d}_{number % 2}"
        assert np.array_equal(read_rgb(output / "images" / f"{stem}.png"), pixels)
        if options:
            file = output / "images" / f"{stem}_hflip.png"
            assert np.array_equal(read_rgb(file), pixels[:, ::-1])
    dataset = FaceVerificationDataset(str(output), str(output / "label.txt"))
    assert len(dataset) == 4 and list(dataset.issame) == [True, False]


def test_a_wrong_bin_file_is_one_line_and_no_folder(pairs, tmp_path):
    whole, out = pairs.read_bytes(), tmp_path / "out"
    harmful = Calls(os.mkdir, str(tmp_path / "executed"))
    for content, words in (
        (whole[:-50], "pairs.bin: truncated"),
        (pickle.dumps(([harmful], [True])), "pairs.bin: refused"),
        (pickle.dumps(([b"junk", b"junk"], [True])), "pairs.bin: image 0: cannot be decoded"),
        (pickle.dumps(([b"junk"], [True])), "1 images for 1 pairs"),
    ):
        pairs.write_bytes(content)
        refused(extract_pairs, pairs, out, words)
    refused(extract_pairs, tmp_path / "absent.bin", out, "absent.bin")
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.bin"]


def test_the_real_set(real_faces, tmp_path):
    done = extract_records(real_faces, tmp_path / "orl")
    assert done.stdout.startswith("num_image: 300\nnum_classes: 30\n"), done
    done = extract_pairs(tmp_path / "orl" / "orl_test.bin", tmp_path / "pairs")
    assert done.stdout == "num_pairs: 600\n", done
    whole = FaceIdentificationDataset(str(tmp_path / "orl"), str(tmp_path / "orl" / "label.txt"))
    assert np.array_equal(np.bincount(whole.source.labels), np.full(30, 10))
    packed = (real_faces / "train.rec").read_bytes()
    files = (tmp_path / "orl" / "images").iterdir()
    assert all(path.read_bytes() in packed for path in files)
    pairs = FaceVerificationDataset(str(tmp_path / "pairs"), str(tmp_path / "pairs" / "label.txt"))
    assert len(pairs) == 1200 and pairs.issame.sum() == 300
