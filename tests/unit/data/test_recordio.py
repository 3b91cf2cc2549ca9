import hashlib
import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plsc.data.record_index import image_records, read_index
from plsc.data.recordio import MAGIC, RecordFile, RecordWriter
from plsc.errors import UserError

CASES = Path(__file__).parents[2] / "golden" / "recordio_cases"
EXPECTED = json.loads((CASES / "expected.json").read_text())
# The worked example of the format: scalar label 7.0, id 1, payload b"abc".
SCALAR = bytes.fromhex("0a23d7ce1b000000000000000000e04001000000000000000000000000000000 61626300")
HEADER_RECORD = bytes.fromhex(
    "0a23d7ce2000000002000000000000000000000000000000000000000000000000008040 0000c040"
)


def written(path, payload, *, key=1, **parameters):
    with RecordWriter(path) as writer:
        writer.write(key, payload, **parameters)
    return path.read_bytes()


@pytest.mark.parametrize("case", EXPECTED)
def test_reads_what_mxnet_reads(case):
    file = RecordFile(CASES / f"{case}.rec")
    keys, offsets = read_index(CASES / f"{case}.idx")
    assert list(keys) == [row["key"] for row in EXPECTED[case]]
    for row, offset in zip(EXPECTED[case], offsets, strict=True):
        record = file.read(int(offset))
        assert (record.flag, list(record.labels), record.id) == (
            row["flag"],
            row["labels"],
            row["id"],
        )
        assert len(record.payload) == row["payload_bytes"]
        assert hashlib.sha256(record.payload).hexdigest() == row["payload_sha256"]


@pytest.mark.parametrize("case", EXPECTED)
def test_writes_what_mxnet_wrote(tmp_path, case):
    file = RecordFile(CASES / f"{case}.rec")
    with RecordWriter(tmp_path / "a.rec") as writer:
        for key, offset in zip(*read_index(CASES / f"{case}.idx"), strict=True):
            record = file.read(int(offset))
            labels = record.labels if record.flag else record.labels[0]
            writer.write(int(key), record.payload, labels=labels, id=record.id, id2=record.id2)
    assert (tmp_path / "a.rec").read_bytes() == (CASES / f"{case}.rec").read_bytes()
    assert (tmp_path / "a.idx").read_bytes() == (CASES / f"{case}.idx").read_bytes()


def test_worked_bytes(tmp_path):
    assert written(tmp_path / "a.rec", b"abc", labels=7.0) == SCALAR
    assert written(tmp_path / "b.rec", b"", key=0, labels=[4.0, 6.0]) == HEADER_RECORD
    assert (tmp_path / "b.idx").read_text() == "0\t0\n"


pieces = st.lists(st.one_of(st.binary(max_size=9), st.just(MAGIC)), max_size=8).map(b"".join)
label_sets = st.one_of(
    st.integers(0, 2**24 - 1).map(float),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4),
)
records = st.tuples(pieces, label_sets, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(records, min_size=1, max_size=5))
def test_round_trip(tmp_path, contents):
    path = tmp_path / "a.rec"
    with RecordWriter(path) as writer:
        for key, (payload, labels, id_, id2) in enumerate(contents):
            writer.write(key, payload, labels=labels, id=id_, id2=id2)
    file = RecordFile(path)
    keys, offsets = read_index(tmp_path / "a.idx")
    assert list(keys) == list(range(len(contents)))
    for offset, (payload, labels, id_, id2) in zip(offsets, contents, strict=True):
        record = file.read(int(offset))
        many = isinstance(labels, list)
        assert record.flag == (len(labels) if many else 0)
        assert record.labels == (tuple(labels) if many else (labels,))
        assert (record.id, record.id2, record.payload) == (id_, id2, payload)


def test_magic_is_cut_out_only_where_aligned(tmp_path):
    aligned = written(tmp_path / "a.rec", b"1234" + MAGIC + b"5", labels=0)
    assert aligned.count(MAGIC) == 2  # one for each part
    assert [struct.unpack_from("<I", aligned, at)[0] for at in (4, 40)] == [
        1 << 29 | 28,
        3 << 29 | 1,
    ]
    unaligned = written(tmp_path / "b.rec", b"123" + MAGIC, labels=0)
    assert unaligned.count(MAGIC) == 2
    assert unaligned[4:8] == struct.pack("<I", 24 + 7)


def damaged(*, replace=None, size=None, data=SCALAR):
    changed = bytearray(data)
    for position, value in (replace or {}).items():
        changed[position : position + len(value)] = value
    return bytes(changed[:size])


def word(place, length):
    return struct.pack("<I", place << 29 | length)


FAULTS = {
    "wrong magic": (damaged(replace={0: b"\0"}), 0, r"byte 0: no record begins here"),
    "offset inside of a record": (SCALAR, 4, r"byte 4: no record begins here"),
    "offset behind the end": (SCALAR, 36, r"byte 36: .*the file has 36 bytes"),
    "negative offset": (SCALAR, -36, r"byte -36: "),
    "length beyond the end": (damaged(replace={4: word(0, 100)}), 0, r"byte 8: 100 .*truncated"),
    "truncated content": (damaged(size=30), 0, r"byte 8: 27 bytes should follow.* 30: truncated"),
    "truncated padding": (damaged(size=35), 0, r"byte 8: .*truncated"),
    "truncated part head": (damaged(size=6), 0, r"byte 0: .*has 6 bytes"),
    "begins with a middle part": (
        damaged(replace={4: word(2, 27)}),
        0,
        r"byte 0: part 1 .*place 2",
    ),
    "unknown place": (damaged(replace={4: word(5, 27)}), 0, r"byte 0: part 1 .*place 5"),
    "first part without another": (damaged(replace={4: word(1, 27)}), 0, r"byte 36: .*36 bytes"),
    "whole record as a second part": (
        damaged(replace={4: word(1, 27)}) + SCALAR,
        0,
        r"byte 36: part 2 .*place 0",
    ),
    "no room for a header": (damaged(replace={4: word(0, 20)}), 0, r"byte 0: 20 bytes are too few"),
    "no room for the labels": (damaged(replace={8: b"\1"}), 0, r"byte 0: 1 labels do not fit"),
    "absurd number of labels": (damaged(replace={8: b"\xff" * 4}), 0, r"byte 0: 4294967295 labels"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_record_is_named(tmp_path, fault):
    data, offset, message = FAULTS[fault]
    path = tmp_path / "bad.rec"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"bad\.rec: record 17: {message}"):
        RecordFile(path).read(offset, key=17)


def test_missing_and_empty_file(tmp_path):
    with pytest.raises(UserError, match=r"absent\.rec: the record file cannot be read"):
        RecordFile(tmp_path / "absent.rec")
    (tmp_path / "empty.rec").touch()
    with pytest.raises(UserError, match=r"empty\.rec: the record file is empty"):
        RecordFile(tmp_path / "empty.rec")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_gives_a_record_or_a_user_error(tmp_path, data):
    whole = (CASES / "multipart.rec").read_bytes()
    changes = st.dictionaries(st.integers(0, len(whole) - 1), st.binary(min_size=1, max_size=4))
    path = tmp_path / "a.rec"
    content = damaged(
        data=whole, replace=data.draw(changes), size=data.draw(st.integers(1, len(whole)))
    )
    path.write_bytes(content)
    file = RecordFile(path)
    for offset in range(-4, len(whole) + 8, 4):
        try:
            record = file.read(offset)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert len(record.payload) < len(content)  # nothing from beyond the end


@pytest.mark.parametrize(
    ("labels", "message"),
    [(3.5, "label 3.5"), (-1.0, "label -1.0"), (float("nan"), "nan"), (2.0**24, "16777216.0")],
)
def test_a_label_that_is_no_class(tmp_path, labels, message):
    written(tmp_path / "a.rec", b"image", labels=labels)
    with pytest.raises(UserError, match=f"byte 0: label .*{message}|{message}.*whole number"):
        RecordFile(tmp_path / "a.rec").read_image(0)


def test_the_class_is_the_first_label(tmp_path):
    written(tmp_path / "a.rec", b"image", labels=[5.0, 0.25])
    assert RecordFile(tmp_path / "a.rec").read_image(0) == (b"image", 5)
    written(tmp_path / "b.rec", b"", labels=5.0)
    with pytest.raises(UserError, match=r"byte 0: the record holds no image"):
        RecordFile(tmp_path / "b.rec").read_image(0)


def test_writer_refuses_labels_that_float32_rounds(tmp_path):
    with (
        pytest.raises(UserError, match="float32 cannot hold label 16777217"),
        RecordWriter(tmp_path / "a.rec") as writer,
    ):
        writer.write(0, b"", labels=2**24 + 1)
    assert os.listdir(tmp_path) == []


def test_a_failed_writer_leaves_the_earlier_file_alone(tmp_path):
    before = written(tmp_path / "a.rec", b"old", labels=1)
    with pytest.raises(ZeroDivisionError), RecordWriter(tmp_path / "a.rec") as writer:
        writer.write(0, b"new", labels=1)
        assert (tmp_path / "a.rec").read_bytes() == before  # nothing is seen before the end
        writer.write(1, b"new", labels=1 / 0)
    assert sorted(os.listdir(tmp_path)) == ["a.idx", "a.rec"]
    assert (tmp_path / "a.rec").read_bytes() == before


def test_a_record_file_travels_to_a_spawned_process(tmp_path):
    written(tmp_path / "a.rec", b"image", labels=5)
    file = pickle.loads(pickle.dumps(RecordFile(tmp_path / "a.rec")))
    assert file.read_image(0) == (b"image", 5)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("0\t0\n7\t40\n", [(0, 0), (7, 40)]),
        ("0\t0\n7\t40", [(0, 0), (7, 40)]),
        ("0\t0\r\n\r\n7\t40\r\n", [(0, 0), (7, 40)]),
        ("0 0\n 7 \t 40 \n", [(0, 0), (7, 40)]),
        ("1\t123456789012345678\n", [(1, 123456789012345678)]),
    ],
)
def test_index(tmp_path, text, rows):
    (tmp_path / "a.idx").write_text(text, newline="")
    keys, offsets = read_index(tmp_path / "a.idx")
    assert keys.dtype == offsets.dtype == np.int64
    assert list(zip(keys.tolist(), offsets.tolist(), strict=True)) == rows


@pytest.mark.parametrize("line", ["7", "7\t", "7\tx", "7\t-4", "7\t4\t9", "\t4", "7\t" + "9" * 19])
def test_a_bad_index_line_is_named(tmp_path, line):
    (tmp_path / "a.idx").write_text(f"0\t0\n\n{line}\n")
    with pytest.raises(UserError, match=r"a\.idx:3: must be a key and a byte offset"):
        read_index(tmp_path / "a.idx")


def insightface_file(path, *, images, identities, header=None):
    with RecordWriter(path) as writer:
        writer.write(0, b"", labels=header or [images + 1, images + 1 + identities])
        for key in range(1, images + 1):
            writer.write(key, b"image %d" % key, labels=key % 3)
        for key in range(images + 1, images + 1 + identities):
            writer.write(key, b"", labels=[1, 2])
    return RecordFile(path), *read_index(path.with_suffix(".idx"))


def test_image_records_of_insightfaces_layout(tmp_path):
    file, keys, offsets = insightface_file(tmp_path / "a.rec", images=5, identities=2)
    image_keys, image_offsets = image_records(file, keys, offsets)
    assert list(image_keys) == [1, 2, 3, 4, 5]
    assert [file.read_image(int(at))[0] for at in image_offsets] == [
        b"image %d" % key for key in image_keys
    ]
    shuffled = np.random.default_rng(0).permutation(len(keys))
    again = image_records(file, keys[shuffled], offsets[shuffled])
    assert np.array_equal(again, (image_keys, image_offsets))


def test_image_records_without_a_header_record():
    for case, keys in {"no_header": [0, 2, 5, 9], "array_label": [1, 2, 3, 4, 5]}.items():
        file = RecordFile(CASES / f"{case}.rec")
        assert list(image_records(file, *read_index(CASES / f"{case}.idx"))[0]) == keys


def test_an_image_with_several_labels_at_key_0_is_no_header(tmp_path):
    with RecordWriter(tmp_path / "a.rec") as writer:
        writer.write(0, b"image", labels=[2, 9])
        writer.write(1, b"image", labels=[2, 9])
    file = RecordFile(tmp_path / "a.rec")
    assert list(image_records(file, *read_index(tmp_path / "a.idx"))[0]) == [0, 1]


@pytest.mark.parametrize("label", [0, -3, 2.5, float("inf"), float("nan")])
def test_a_header_record_that_counts_nothing(tmp_path, label):
    file, *index = insightface_file(tmp_path / "a.rec", images=2, identities=1, header=[label, 9])
    with pytest.raises(UserError, match=r"a\.rec: record 0: byte 0: .*no number of images"):
        image_records(file, *index)


def test_a_header_record_that_counts_too_many(tmp_path):
    file, *index = insightface_file(tmp_path / "a.rec", images=2, identities=1, header=[9, 10])
    with pytest.raises(UserError, match=r"counts the images 1 to 8, of which the index has 3"):
        image_records(file, *index)


def test_a_key_that_occurs_twice(tmp_path):
    file, keys, offsets = insightface_file(tmp_path / "a.rec", images=3, identities=1)
    keys[3] = 2
    with pytest.raises(UserError, match=r"a\.rec: the index has record 2 more than once"):
        image_records(file, keys, offsets)


def test_a_count_that_float32_rounds_is_found_in_the_records(tmp_path):
    """42,474,558 becomes 42,474,560 in float32; the records say where the images end."""
    with RecordWriter(tmp_path / "a.rec") as writer:
        writer.write(0, b"", labels=[float(np.float32(42_474_558)), 42_475_000])
        image = writer.write(1, b"image", labels=0)
        identity = writer.write(2, b"", labels=[1, 2])
    keys = np.arange(42_474_562)
    offsets = np.where(keys < 42_474_558, image, identity)
    offsets[0] = 0
    images, _ = image_records(RecordFile(tmp_path / "a.rec"), keys, offsets)
    assert (images[0], images[-1], len(images)) == (1, 42_474_557, 42_474_557)


def test_real_record_file(real_faces):
    file = RecordFile(real_faces / "train.rec")
    keys, offsets = image_records(file, *read_index(real_faces / "train.idx"))
    images = [file.read_image(int(offset)) for offset in offsets]
    assert list(keys) == list(range(1, 301))
    assert {label for _, label in images} == set(range(30))
    assert all(image[:2] == b"\xff\xd8" and image[-2:] == b"\xff\xd9" for image, _ in images)
