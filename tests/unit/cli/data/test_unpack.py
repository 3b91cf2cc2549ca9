import json
import pickle

import cv2
import numpy as np
import pytest
from pictures import noise
from places import files_below

from plsc.cli.data.main import main
from plsc.data.records.recordio import RecordWriter
from plsc.data.sets.folder import FolderImages
from plsc.data.sets.open import open_source

ENDINGS = {1: ".jpg", 2: ".png", 3: ".webp", 4: ".bmp", 5: ".jpg"}
LABELS = [0, 0, 1, 1, 3]


IMAGES = {key: noise(key, side=8, ending=ending) for key, ending in ENDINGS.items()} | {
    5: b"no image at all"
}


@pytest.fixture
def rec(tmp_path):
    """Five images of all formats, and one of none; class 2 has none of them."""
    (tmp_path / "set").mkdir()
    with RecordWriter(tmp_path / "set" / "train.rec") as writer:
        writer.write(0, b"", labels=[6, 10])
        for (key, content), label in zip(IMAGES.items(), LABELS, strict=True):
            writer.write(key, content, labels=label)
        for key in range(6, 10):
            writer.write(key, b"", labels=[1, 1])
    return tmp_path / "set" / "train.rec"


def unpack(source, output, *options, status=0):
    assert main(["unpack", str(source), str(output), *options]) == status


@pytest.mark.parametrize("workers", ["1", "3"])
def test_bytes_names_and_list(rec, tmp_path, capsys, workers):
    output = tmp_path / "out"
    unpack(rec.parent, output, "--workers", workers)
    assert capsys.readouterr().out == ("num_image: 5\nnum_classes: 3\nModel.class_num: 4 or more\n")
    files = files_below(output)
    lines = files.pop("label.txt").decode().splitlines()
    names = [f"images/{key:08d}{ending}" for key, ending in ENDINGS.items()]
    assert files == dict(zip(names, IMAGES.values(), strict=True))
    assert lines == [f"{name}\t{label}" for name, label in zip(names, LABELS, strict=True)]
    source = open_source(output)  # its label.txt
    assert [source.read(row) for row in range(5)] == list(zip(IMAGES.values(), LABELS, strict=True))


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_folder_per_identity(rec, tmp_path, workers):
    unpack(rec, tmp_path / "out", "--folders", "--workers", workers)
    expected = {
        f"{label:07d}/{key:08d}{ENDINGS[key]}": IMAGES[key]
        for key, label in zip(IMAGES, LABELS, strict=True)
    }
    assert files_below(tmp_path / "out") == expected
    # A set of folders, whose classes are the places of the folders: without the gap.
    assert FolderImages(tmp_path / "out").labels.tolist() == [0, 0, 1, 1, 2]


def test_identities_keep_their_names_where_these_are_in_order(rec, tmp_path):
    listed = rec.with_name("identities.txt")
    listed.write_text("0\tAnna B.\n1\tCaesar\n2\tZoë\n3\tÄnne\n")
    unpack(rec, tmp_path / "named", "--folders")
    assert {path.name for path in (tmp_path / "named").iterdir()} == {"Anna B.", "Caesar", "Änne"}
    listed.write_text("0\t3\n1\t17\n2\t100\n3\t101\n")  # sorted as text: 100 before 17
    unpack(rec, tmp_path / "numbered", "--folders")
    assert {path.name for path in (tmp_path / "numbered").iterdir()} == {
        "0000000", "0000001", "0000003",
    }  # fmt: skip


def test_names_that_are_not_those_of_the_classes_are_refused(rec, tmp_path, capsys):
    rec.with_name("identities.txt").write_text("0\tanna\n2\tbert\n")
    unpack(rec, tmp_path / "out", "--folders", status=2)
    assert "identities.txt:2: must be 1, a tab" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../up", "a/b", "..", ".", "", "nul\0"])
def test_a_name_that_leaves_the_folder_is_refused(rec, tmp_path, capsys, name):
    rec.with_name("identities.txt").write_text(f"0\tanna\n1\t{name}\n")
    unpack(rec, tmp_path / "out", "--folders", status=2)
    assert "identities.txt:2: must be 1, a tab and a folder's name" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_damage_names_key_and_byte_and_leaves_nothing(rec, tmp_path, capsys):
    offset = int(rec.with_suffix(".idx").read_text().split()[9])
    content = bytearray(rec.read_bytes())
    content[offset] ^= 1
    rec.write_bytes(content)
    for workers in ("1", "2"):
        unpack(rec, tmp_path / "out", "--workers", workers, status=2)
        text = capsys.readouterr().err
        assert f"plsc-data: error: {rec}: record 4: byte {offset}: no record begins" in text
        assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_pairs(tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8)
    images = [cv2.imencode(".png", one)[1].tobytes() for one in pixels]
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps((images, [True, False])))
    unpack(tmp_path / "lfw.bin", tmp_path / "out", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report == {"output": str(tmp_path / "out"), "num_pairs": 2}
    for number, one in enumerate(pixels):
        path = tmp_path / "out" / "images" / f"{number // 2:08d}_{number % 2}.png"
        assert np.array_equal(cv2.imread(str(path)), one)
    assert (tmp_path / "out" / "label.txt").read_text().splitlines()[1].endswith("_1.png\t0")
    unpack(tmp_path / "lfw.bin", tmp_path / "folders", "--folders", status=2)
    assert "lfw.bin holds pairs, which have no identities" in capsys.readouterr().err


def test_mistakes(rec, tmp_path, capsys):
    unpack(rec, rec.parent, status=2)
    assert f"{rec.parent}: exists and is not an empty folder" in capsys.readouterr().err
    unpack(rec, tmp_path / "out", "--workers", "0", status=2)
    assert "--num-workers must be at least 1, got 0" in capsys.readouterr().err
    with RecordWriter(tmp_path / "empty.rec") as writer:
        writer.write(0, b"", labels=[1, 1])
    unpack(tmp_path / "empty.rec", tmp_path / "out", status=2)
    assert "empty.rec: has no images" in capsys.readouterr().err
