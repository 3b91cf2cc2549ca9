import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_source import MemorySource
from pictures import noise
from refusals import error_line

from plsc.cli.data.main import main
from plsc.data.records.record_index import image_records, read_index
from plsc.data.records.recordio import EXACT_LABELS, RecordFile
from plsc.data.sets.record_images import RecordImages
from plsc.datatools.preparation import Preparation
from plsc.datatools.record_set import PackingOrder, pack_records, packing_order
from plsc.errors import UserError

PEOPLE = {"Zoë": 1, "anna": 3, "Bob B.": 2}
IN_ORDER = ["Bob B.", "Zoë", "anna"]


@pytest.fixture
def people(tmp_path):
    root, number = tmp_path / "people", 0
    for name, count in PEOPLE.items():
        (root / name).mkdir(parents=True)
        for place in range(count):
            ending = ".png" if place % 2 else ".jpg"
            (root / name / f"{9 - place}{ending}").write_bytes(noise(number, ending=ending))
            number += 1
    return root


def files_of(people):
    """Labels and contents in the order of identities and file names."""
    return [
        (label, path.read_bytes())
        for label, name in enumerate(IN_ORDER)
        for path in sorted((people / name).iterdir())
    ]


def pack(source, output, *options, status=0):
    assert main(["pack", str(source), str(output), *map(str, options)]) == status


def report(capsys, source, output, *options):
    pack(source, output, *options, "--json")
    return json.loads(capsys.readouterr().out)


def records_of(path):
    """Key -> record, in the order of the file."""
    file, index = RecordFile(path), read_index(path.with_suffix(".idx"))
    order = np.argsort(index.offsets)
    return {int(index.keys[row]): file.read(int(index.offsets[row])) for row in order.tolist()}


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def refused(capsys, source, output, *options):
    """The one line; nothing is left of the output."""
    before = sorted(Path(output).parent.iterdir())
    pack(source, output, *options, status=2)
    line = error_line(capsys.readouterr().err, "plsc-data")
    assert sorted(Path(output).parent.iterdir()) == before
    return line


def test_insightfaces_layout(people, tmp_path, capsys):
    assert report(capsys, people, tmp_path / "set") == {
        "output": str(tmp_path / "set"),
        "num_image": 6,
        "num_classes": 3,
        "Model.class_num": 3,
        "rearranged": False,
        "resized": 0,
        "stretched": 0,
        "num_skipped": 0,
        "skipped": [],
    }
    found = records_of(tmp_path / "set" / "train.rec")
    assert list(found) == list(range(10))
    assert {key: (record.flag, record.labels) for key, record in found.items()} == {
        0: (2, (7, 10)),
        1: (0, (0,)),
        2: (0, (0,)),
        3: (0, (1,)),
        4: (0, (2,)),
        5: (0, (2,)),
        6: (0, (2,)),
        7: (2, (1, 3)),
        8: (2, (3, 4)),
        9: (2, (4, 7)),
    }
    assert all((record.id, record.id2) == (key, 0) for key, record in found.items())
    contents = [content for _, content in files_of(people)]
    assert [record.payload for record in found.values()] == [b"", *contents, b"", b"", b""]
    assert (tmp_path / "set" / "property").read_text() == "3,112,112\n"
    names = (tmp_path / "set" / "identities.txt").read_text(encoding="utf-8")
    assert names == "0\tBob B.\n1\tZoë\n2\tanna\n"
    source = RecordImages([tmp_path / "set" / "train.rec"])
    assert source.num_classes == 3
    assert [source.read(row)[::-1] for row in range(6)] == files_of(people)


@pytest.mark.parametrize("options", [[], ["--shuffle"], ["--size", "50"], ["--no_check"]])
def test_the_same_bytes_whatever_the_workers(people, tmp_path, options):
    for number in range(40):  # more than a few tasks
        (people / "anna" / f"more{number}.jpg").write_bytes(noise(number))
        (people / "Zoë" / f"more{number}.jpg").write_bytes(noise(-number % 17))
    pack(people, tmp_path / "one", "--workers", 1, *options)
    for workers in (1, 2, 3):
        pack(people, tmp_path / f"{workers}", "--workers", workers, *options)
        assert digests(tmp_path / f"{workers}") == digests(tmp_path / "one")


def test_list_folder_and_records_give_the_same_set(people, tmp_path, capsys):
    pack(people, tmp_path / "set")
    lines = []
    for label, name in enumerate(IN_ORDER):
        lines += [f"{name}/{path.name}\t{label}\n" for path in sorted((people / name).iterdir())]
    (tmp_path / "list.txt").write_text("".join(lines))
    pack(tmp_path / "list.txt", tmp_path / "listed", "--image_root", people)
    assert "note" not in capsys.readouterr().err
    (tmp_path / "mixed.txt").write_text("".join(lines[3:] + lines[:3]))
    pack(tmp_path / "mixed.txt", tmp_path / "mixed", "--image_root", people)
    assert "note: images were brought into the order of their classes" in capsys.readouterr().err
    pack(tmp_path / "set" / "train.rec", tmp_path / "again")
    expected = digests(tmp_path / "set")
    del expected["identities.txt"]
    for name in ("listed", "mixed", "again"):
        assert digests(tmp_path / name) == expected


def test_shuffled_in_the_file_and_the_same_by_key(people, tmp_path):
    pack(people, tmp_path / "set")
    pack(people, tmp_path / "mixed", "--shuffle")
    pack(people, tmp_path / "other", "--shuffle", "--seed", 1)
    plain, mixed, other = (
        records_of(tmp_path / name / "train.rec") for name in ("set", "mixed", "other")
    )
    assert plain == mixed == other
    keys = list(mixed)
    assert keys[0] == 0 and keys[7:] == [7, 8, 9]  # where a scan looks for them
    assert keys[1:7] != [1, 2, 3, 4, 5, 6] and keys != list(other)
    written = (tmp_path / "mixed" / "train.idx").read_text().splitlines()
    assert [int(line.split("\t")[0]) for line in written] == keys  # mxnet's order of keys
    for name in ("mixed", "other"):
        (tmp_path / name / "train.idx").unlink()
        source = RecordImages([tmp_path / name / "train.rec"])  # by a scan
        assert [source.read(row)[::-1] for row in range(6)] == files_of(people)


def test_im2recs_layout_is_nothing_but_images(people, tmp_path):
    pack(people, tmp_path / "set", "--shuffle", "--layout", "im2rec", "--name", "dali")
    found = records_of(tmp_path / "set" / "dali.rec")
    assert sorted(found) == list(range(6)) != list(found)
    assert [(int(found[key].labels[0]), found[key].payload) for key in range(6)] == files_of(people)
    assert all(record.flag == 0 and record.payload for record in found.values())


def test_resizing_leaves_what_fits_alone(people, tmp_path, capsys):
    (people / "anna" / "large.png").write_bytes(noise(0, side=300, ending=".png"))
    (people / "anna" / "tall.png").write_bytes(noise(1, side=112, width=80, ending=".png"))
    line = refused(capsys, people, tmp_path / "set")
    place = people / "anna" / "large.png"
    assert f"{place}: the image is 300x300 (width x height), must be 112x112: align" in line
    found = report(capsys, people, tmp_path / "set", "--size", 112, "--quality", 90)
    assert (found["resized"], found["stretched"]) == (2, 1)
    source = RecordImages([tmp_path / "set" / "train.rec"])
    images = [source.read(row)[0] for row in range(8)]
    assert images[:6] == [content for _, content in files_of(people)[:6]]
    for image in images[6:]:
        assert image[:2] == b"\xff\xd8"
        assert cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR).shape == (112, 112, 3)
    pack(people, tmp_path / "small", "--size", 64)
    assert (tmp_path / "small" / "property").read_text() == "3,64,64\n"
    text = capsys.readouterr().err
    assert "note: 1 images were not square and are stretched now; plsc-data align" in text


def test_resized_pixels_are_the_image(tmp_path, capsys):
    ramp = np.linspace(20, 190, 336, dtype=np.float32)
    ramp[1::3] += 45  # shows where pixels are left out instead of averaged
    pixels = np.broadcast_to(ramp[:, None, None], (336, 336, 3)).astype(np.uint8)
    (tmp_path / "people" / "a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "people" / "a" / "1.png"), pixels)
    pack(tmp_path / "people", tmp_path / "set", "--size", 112)
    image = RecordImages([tmp_path / "set" / "train.rec"]).read(0)[0]
    decoded = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    expected = ramp.reshape(112, 3).mean(axis=1)
    assert np.abs(decoded - expected[:, None, None]).max() < 4


@pytest.fixture
def bad_people(people):
    (people / "anna" / "cut.jpg").write_bytes(noise(0)[:-100])
    (people / "Zoë" / "8junk.png").write_bytes(b"junk")
    (people / "Bob B." / "empty.jpg").write_bytes(b"")
    return people


def test_a_bad_image_is_named(bad_people, tmp_path, capsys):
    for workers in (1, 2):
        line = refused(capsys, bad_people, tmp_path / "set", "--workers", workers)
        assert f"{bad_people / 'Bob B.' / 'empty.jpg'}: the image is empty" in line
    line = refused(capsys, bad_people, tmp_path / "set", "--no_check")
    assert "empty.jpg: the image is empty" in line
    (bad_people / "Bob B." / "empty.jpg").unlink()
    assert "8junk.png: cannot be decoded" in refused(capsys, bad_people, tmp_path / "set")
    pack(bad_people, tmp_path / "set", "--no_check")
    assert len(RecordImages([tmp_path / "set" / "train.rec"])) == 8


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_images_left_out_are_counted_and_listed(bad_people, tmp_path, capsys, workers):
    found = report(capsys, bad_people, tmp_path / "set", "--on_bad", "skip", "--workers", workers)
    assert (found["num_image"], found["num_skipped"]) == (6, 3)
    places = [("Bob B.", "empty.jpg"), ("Zoë", "8junk.png"), ("anna", "cut.jpg")]
    for message, (person, name) in zip(found["skipped"], places, strict=True):
        assert message.startswith(f"{bad_people / person / name}: ")
        (bad_people / person / name).unlink()
    listed = (tmp_path / "set" / "skipped.txt").read_text()
    assert listed.splitlines() == found["skipped"]
    pack(bad_people, tmp_path / "clean")
    for name in ("train.rec", "train.idx", "property"):
        assert (tmp_path / "set" / name).read_bytes() == (tmp_path / "clean" / name).read_bytes()
    assert capsys.readouterr().out == "num_image: 6\nnum_classes: 3\nModel.class_num: 3\n"


def test_an_identity_that_loses_all_images(bad_people, tmp_path, capsys):
    (bad_people / "Zoë" / "9.jpg").unlink()
    line = refused(capsys, bad_people, tmp_path / "set", "--on_bad", "skip")
    assert "classes must have no gaps: of 0 to 2, 1 have no image, the first is 1" in line
    pack(bad_people, tmp_path / "set", "--on_bad", "skip", "--relabel")
    names = (tmp_path / "set" / "identities.txt").read_text(encoding="utf-8")
    assert names == "0\tBob B.\n1\tanna\n"
    assert (tmp_path / "set" / "property").read_text() == "2,112,112\n"


def listed(people, path, labels):
    names = [f"{name}/{file.name}" for name in IN_ORDER for file in (people / name).iterdir()]
    lines = [f"{name}\t{label}\n" for name, label in zip(names, labels, strict=True)]
    path.write_text("".join(lines))
    return path


def test_gaps_and_large_classes_are_refused_or_numbered_anew(people, tmp_path, capsys):
    large = listed(people, tmp_path / "large.txt", [0, 0, 0, 7, 7, EXACT_LABELS])
    options = ["--image_root", people]
    line = refused(capsys, large, tmp_path / "set", *options)
    assert f"{large}: class 16777216: RecordIO's float32 labels are exact only below" in line
    assert "--relabel" in line
    gaps = listed(people, tmp_path / "gaps.txt", [9, 0, 9, 7, 0, 0])
    line = refused(capsys, gaps, tmp_path / "set", *options)
    assert "of 0 to 9, 7 have no image, the first is 1: number them anew with --relabel" in line
    pack(large, tmp_path / "set", *options, "--relabel")
    assert (tmp_path / "set" / "identities.txt").read_text() == "0\t0\n1\t7\n2\t16777216\n"
    found = records_of(tmp_path / "set" / "train.rec")
    assert [record.labels for record in found.values()][1:7] == [(0,)] * 3 + [(1,)] * 2 + [(2,)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", 0], "--size must be from 1 to 4096, got 0"),
        (["--quality", 101], "--quality must be from 1 to 100, got 101"),
        (["--workers", 0], "--num-workers must be at least 1, got 0"),
        (["--seed", 1], "--seed must be at least 0, and is for --shuffle, got 1"),
        (["--shuffle", "--seed", -1], "--seed must be at least 0, and is for --shuffle, got -1"),
        (["--name", "a/b"], "--name must be a file's name without its ending, got 'a/b'"),
        (["--no_check", "--size", 112], "--no_check: --size has to decode the images"),
        (["--no_check", "--on_bad", "skip"], "--no_check: --on_bad has to decode the images"),
        (["--delimiter", ","], "--delimiter belongs to a list"),
    ],
)
def test_mistakes(people, tmp_path, capsys, options, message):
    assert message in refused(capsys, people, tmp_path / "set", *options)


def test_an_output_that_is_there_is_left_alone(people, tmp_path, capsys):
    pack(people, tmp_path / "set")
    before = digests(tmp_path / "set")
    assert "set: exists and is not an empty folder" in refused(capsys, people, tmp_path / "set")
    assert digests(tmp_path / "set") == before


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=30), st.booleans())
def test_a_plan_holds_each_image_once_by_class(labels, relabel):
    given_labels = np.array(labels)
    used = np.flatnonzero(given_labels >= 0)
    kinds = np.unique(given_labels[used])
    if not len(used) or not (relabel or np.array_equal(kinds, np.arange(len(kinds)))):
        with pytest.raises(UserError, match="no image is left|must have no gaps"):
            packing_order(given_labels, relabel=relabel)
        return
    places = packing_order(given_labels, relabel=relabel)
    assert sorted(places.rows) == used.tolist()
    assert len(places.starts) == len(kinds) + 1 and places.starts[-1] == len(used)
    for label, kind in enumerate(kinds):
        rows = places.rows[places.starts[label] : places.starts[label + 1]]
        assert rows.tolist() == np.flatnonzero(given_labels == kind).tolist()
    assert places.rearranged == (places.rows.tolist() != used.tolist())
    assert (places.originals.tolist() if relabel else None) == (kinds.tolist() if relabel else None)


@pytest.mark.parametrize("workers", [1, 2])
def test_images_larger_than_the_shared_memory(tmp_path, workers):
    sizes = [1, 3_000_000, 2, 3_000_000, 1, *[7] * 60]
    source = MemorySource([(bytes([row]) * size, 0) for row, size in enumerate(sizes)])
    order, as_is = packing_order(source.labels), Preparation(check=False)
    pack_records(tmp_path / "a.rec", source, order, as_is, num_workers=workers)
    file = RecordFile(tmp_path / "a.rec")
    index = image_records(file, *read_index(tmp_path / "a.idx"))
    assert len(index.offsets) == len(source)
    for row, offset in enumerate(index.offsets.tolist()):
        assert file.read_image(offset) == source.read(row)


def test_keys_that_float32_rounds_are_written_as_mxnet_would(tmp_path):
    count = 42_474_557  # WebFace42M's
    places = PackingOrder(np.array([0]), np.array([0, count]), None, False)
    source = MemorySource([(b"image", 0)])
    pack_records(tmp_path / "a.rec", source, places, Preparation(check=False))
    assert records_of(tmp_path / "a.rec")[2].labels == tuple(np.float32([1, 42_474_558]))


def test_a_name_that_cannot_be_a_line(people, tmp_path, capsys):
    (people / "an\nna").mkdir()
    (people / "an\nna" / "1.jpg").write_bytes(noise(0))
    assert r"'an\nna': a name must be one line" in refused(capsys, people, tmp_path / "set")


def test_the_real_set_packs_into_the_bytes_that_mxnet_wrote(real_faces, tmp_path):
    main(["unpack", str(real_faces), str(tmp_path / "faces"), "--folders"])
    pack(tmp_path / "faces", tmp_path / "set")
    for name in ("train.rec", "train.idx", "property"):
        assert (tmp_path / "set" / name).read_bytes() == (real_faces / name).read_bytes()
