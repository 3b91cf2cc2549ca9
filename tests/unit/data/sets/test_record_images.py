import json
import os
import pickle
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import GOLDEN

from plsc.data.records.recordio import RecordFile, RecordWriter
from plsc.data.sets.base import BadImage, ImageSource
from plsc.data.sets.record_images import RecordImages, rec_files
from plsc.errors import UserError

CASES = GOLDEN / "recordio_cases"
EXPECTED = json.loads((CASES / "expected.json").read_text())


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def insightface(path, labels, *, identities=None, header=None):
    """A file in InsightFace's layout: record 0, images 1 to n, identity records."""
    path.parent.mkdir(exist_ok=True)
    identities = max(labels) + 1 if identities is None else identities
    stop = len(labels) + 1
    with RecordWriter(path) as writer:
        writer.write(0, b"", labels=header or [stop, stop + identities])
        for key, label in enumerate(labels, 1):
            writer.write(key, f"{path.stem} {key}".encode(), labels=label)
        for key in range(stop, stop + identities):
            writer.write(key, b"", labels=[1, 2])
    return path


def im2rec(path, rows):
    """A file in im2rec's layout: images only, in any order."""
    path.parent.mkdir(exist_ok=True)
    with RecordWriter(path) as writer:
        for key, label in rows:
            writer.write(key, f"{path.stem} {key}".encode(), labels=label)
    return path


def content(source):
    return [source.read(index) for index in range(len(source))]


def test_insightfaces_layout(tmp_path):
    source = RecordImages([insightface(tmp_path / "train.rec", [0, 0, 1, 2])])
    assert isinstance(source, ImageSource)
    assert (len(source), source.num_classes, source.labels) == (4, 3, None)
    assert content(source) == [(b"train 1", 0), (b"train 2", 0), (b"train 3", 1), (b"train 4", 2)]
    assert [source.name(index) for index in range(4)] == ["1", "2", "3", "4"]
    assert source.where(1) == f"{tmp_path}/train.rec: record 2: byte 80"
    for index in (-1, 4):
        with pytest.raises(IndexError):
            source.read(index)


def test_im2recs_layout_is_read_by_ascending_key(tmp_path):
    source = RecordImages([im2rec(tmp_path / "a.rec", [(7, 1), (0, 2), (3, 0)])])
    assert (len(source), source.num_classes) == (3, None)
    assert content(source) == [(b"a 0", 2), (b"a 3", 0), (b"a 7", 1)]
    assert source.where(2) == f"{tmp_path}/a.rec: record 7: byte 0"


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("case", ["array_label", "no_header"])
def test_what_mxnet_reads(tmp_path, case, indexed):
    shutil.copy(CASES / f"{case}.rec", tmp_path)
    if indexed:
        shutil.copy(CASES / f"{case}.idx", tmp_path)
    source = RecordImages(rec_files(tmp_path))
    assert [source.read(index)[1] for index in range(len(source))] == [
        row["labels"][0] for row in EXPECTED[case]
    ]
    assert [len(source.read(index)[0]) for index in range(len(source))] == [
        row["payload_bytes"] for row in EXPECTED[case]
    ]


def test_a_record_without_an_image_is_a_bad_one(tmp_path):
    shutil.copy(CASES / "multipart.rec", tmp_path)
    source = RecordImages(rec_files(tmp_path))
    assert [len(source.read(i)[0]) for i in (0, 1, 2, 3, 5)] == [20, 21, 16, 16, 36]
    with pytest.raises(BadImage, match=r"multipart\.rec: record 5: byte 220: .*no image"):
        source.read(4)


def test_real_record_file(real_faces):
    source = RecordImages(rec_files(real_faces))
    images = content(source)
    assert (len(source), source.num_classes) == (300, 30)
    assert [source.name(index) for index in (0, 299)] == ["1", "300"]
    assert {label for _, label in images} == set(range(30))
    assert all(image[:2] == b"\xff\xd8" and image[-2:] == b"\xff\xd9" for image, _ in images)


def test_which_files_a_folder_has(tmp_path):
    for name in ("b.rec", "a.rec", "c.idx", "a.rec.partial-12"):
        (tmp_path / name).touch()
    assert rec_files(tmp_path) == [tmp_path / "a.rec", tmp_path / "b.rec"]
    (tmp_path / "train.rec").touch()
    assert rec_files(str(tmp_path)) == [tmp_path / "train.rec"]
    assert rec_files(tmp_path / "b.rec") == [tmp_path / "b.rec"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: has no \.rec file"):
        rec_files(tmp_path / "empty")
    with pytest.raises(UserError, match=r"absent: no such file or folder"):
        rec_files(tmp_path / "absent")
    with pytest.raises(UserError, match=r"at least one file"):
        RecordImages([])


def test_several_files_are_one_set(tmp_path):
    paths = [
        insightface(tmp_path / "a.rec", [0, 1], identities=4),
        im2rec(tmp_path / "b.rec", [(5, 3), (4, 2), (6, 0)]),
        insightface(tmp_path / "c.rec", [2], identities=4),
    ]
    source = RecordImages(paths)
    assert content(source) == [
        (b"a 1", 0), (b"a 2", 1), (b"b 4", 2), (b"b 5", 3), (b"b 6", 0), (b"c 1", 2),
    ]  # fmt: skip
    names = [source.name(index) for index in range(6)]
    assert names == ["0/1", "0/2", "1/4", "1/5", "1/6", "2/1"]
    assert source.where(3).startswith(f"{tmp_path}/b.rec: record 5: byte 0")
    assert source.num_classes is None  # b does not tell
    assert RecordImages([paths[0], paths[2]]).num_classes == 4


def test_parts_of_a_set_that_count_their_own_identities_alone(tmp_path):
    paths = [
        insightface(tmp_path / "a.rec", [0, 1], identities=2),
        insightface(tmp_path / "b.rec", [2, 3], identities=2),
    ]
    source = RecordImages(paths)
    assert source.num_classes is None
    assert [label for _, label in content(source)] == [0, 1, 2, 3]


def test_classes_of_separate_files_follow_each_other(tmp_path):
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "property").write_text("5,112,112\n")
    paths = [
        insightface(tmp_path / "one" / "train.rec", [0, 1, 2]),
        im2rec(tmp_path / "two" / "train.rec", [(0, 4), (1, 0)]),
        insightface(tmp_path / "three" / "train.rec", [0, 1]),
    ]
    source = RecordImages(paths, label_space="separate")
    assert [label for _, label in content(source)] == [0, 1, 2, 3 + 4, 3 + 0, 8 + 0, 8 + 1]
    assert source.num_classes == 10


def test_separate_files_need_the_number_of_their_classes(tmp_path):
    first = insightface(tmp_path / "a.rec", [0, 1])
    second = im2rec(tmp_path / "b.rec", [(0, 0)])
    with pytest.raises(UserError, match=r"b\.rec: label_space: separate needs .*property"):
        RecordImages([first, second], label_space="separate")
    # Beside two files `property` counts the classes of both together.
    (tmp_path / "property").write_text("9,112,112")
    with pytest.raises(UserError, match=r"b\.rec: label_space: separate needs .*folder of its own"):
        RecordImages([first, second], label_space="separate")
    assert RecordImages([first, second]).num_classes == 9


def test_property_tells_classes_where_no_record_0_does(tmp_path):
    path = im2rec(tmp_path / "a.rec", [(0, 0), (1, 6)])
    assert RecordImages([path]).num_classes is None
    (tmp_path / "property").write_text(" 7 ,112,112\r\n")
    assert RecordImages([path]).num_classes == 7
    assert RecordImages([insightface(tmp_path / "b.rec", [0, 1])]).num_classes == 2
    (tmp_path / "property").write_text("6,112,112")
    with pytest.raises(
        BadImage, match=r"a\.rec: record 1: byte 36: label 6, but property counts 6 classes"
    ):
        RecordImages([path]).read(1)


@pytest.mark.parametrize("text", ["", "x,112,112", "0,112,112", "-3", "9" * 19, "²"])
def test_a_property_that_counts_nothing(tmp_path, text):
    path = im2rec(tmp_path / "a.rec", [(0, 0)])
    (tmp_path / "property").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"property: must be num_classes,height,width, got "):
        RecordImages([path])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (3, "label 3, but record 0 counts 2 classes"),
        (2.0**24, r"label 16777216\.0 .*a list or a folder"),
    ],
)
def test_a_label_that_is_no_class(tmp_path, labels, message):
    source = RecordImages([insightface(tmp_path / "a.rec", [0, labels, 1], identities=2)])
    assert [source.read(index)[1] for index in (0, 2)] == [0, 1]
    with pytest.raises(BadImage, match=rf"a\.rec: record 2: byte 76: {message}"):
        source.read(1)


def damaged(tmp_path, change):
    path = insightface(tmp_path / "a.rec", [0, 0, 1])
    path.write_bytes(change(path.read_bytes()))
    return path


def test_one_damaged_record_spares_the_others(tmp_path):
    source = RecordImages([damaged(tmp_path, lambda data: data[:76] + b"\0" + data[77:])])
    assert source.read(0) == (b"a 1", 0) and source.read(2) == (b"a 3", 1)
    with pytest.raises(BadImage, match=r"a\.rec: record 2: byte 76: no record begins here"):
        source.read(1)


def test_a_last_record_cut_short_spares_the_others(tmp_path):
    path = im2rec(tmp_path / "a.rec", [(0, 0), (1, 1)])
    os.truncate(path, path.stat().st_size - 5)
    source = RecordImages([path])
    assert source.read(0) == (b"a 0", 0)
    with pytest.raises(BadImage, match=r"a\.rec: record 1: byte 44: .*truncated"):
        source.read(1)


def test_a_file_cut_in_the_middle_is_refused_at_opening(tmp_path):
    path = damaged(tmp_path, lambda data: data[:100])
    with pytest.raises(UserError, match=r"a\.idx: record 5: byte offset \d+ does not fit .*a\.rec"):
        RecordImages([path])


def test_an_index_that_points_into_a_record(tmp_path):
    path = insightface(tmp_path / "a.rec", [0, 0, 1])
    index = path.with_suffix(".idx")
    index.write_text(index.read_text().replace("2\t76", "2\t80"))
    with pytest.raises(BadImage, match=r"a\.rec: record 2: byte 80: no record begins here"):
        RecordImages([path]).read(1)


def test_a_file_without_images(tmp_path):
    with pytest.raises(UserError, match=r"a\.rec: has no images"):
        RecordImages([insightface(tmp_path / "a.rec", [], identities=2)])
    (tmp_path / "b.rec").touch()
    with pytest.raises(UserError, match=r"b\.rec: the record file is empty"):
        RecordImages([tmp_path / "b.rec"])


def test_a_source_travels_to_another_process(tmp_path):
    source = RecordImages([im2rec(tmp_path / "a.rec", [(0, 3), (9, 1)])])
    assert content(pickle.loads(pickle.dumps(source))) == content(source)


@given(
    sets=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=4),
    separate=st.booleans(),
)
def test_any_files_are_read_in_order(tmp_path, sets, separate):
    paths = [
        insightface(tmp_path / f"{number}.rec", labels, identities=10)
        for number, labels in enumerate(sets)
    ]
    source = RecordImages(paths, label_space="separate" if separate else "shared")
    wanted = [
        (f"{number} {key}".encode(), label + (10 * number if separate else 0))
        for number, labels in enumerate(sets)
        for key, label in enumerate(labels, 1)
    ]
    assert content(source) == wanted
    assert source.num_classes == (10 * len(sets) if separate else 10)


@given(st.data())
def test_any_damage_gives_images_or_a_user_error(tmp_path, data):
    path = insightface(tmp_path / "a.rec", [0, 0, 1])
    for each in (path, path.with_suffix(".idx")):
        content = bytearray(each.read_bytes())
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=2)):
            content[place] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(b"0123456")))
        each.write_bytes(content)
    size = RecordFile(path).size
    try:
        source = RecordImages([path])
    except UserError as error:
        assert str(error).startswith(f"{tmp_path}/a.") and "\n" not in str(error)
        return
    for index in range(len(source)):
        try:
            image, label = source.read(index)
        except BadImage as error:
            assert f"a.rec: record {source.name(index)}: byte " in str(error)
        else:
            assert 0 < len(image) < size and label >= 0
