import hashlib
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import GOLDEN

from plsc.data.records.record_index import read_index
from plsc.data.records.recordio import MAGIC, RecordFile, RecordWriter
from plsc.data.sets.base import BadImage
from plsc.data.sets.record_images import RecordImages, rec_files
from plsc.errors import UserError

CASES = GOLDEN / "recordio_cases"
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
    "first part as a second part": (
        damaged(replace={4: word(1, 27)}) + damaged(replace={4: word(1, 27)}) + SCALAR,
        0,
        r"byte 36: part 2 .*place 1",
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
    with pytest.raises(BadImage, match=rf"bad\.rec: record 17: {message}"):
        RecordFile(path).read(offset, key=17)


def test_missing_and_empty_file(tmp_path):
    with pytest.raises(UserError, match=r"absent\.rec: the record file cannot be read"):
        RecordFile(tmp_path / "absent.rec")
    with pytest.raises(UserError, match=r"the record file cannot be read: Is a directory"):
        RecordFile(tmp_path)
    os.mkfifo(tmp_path / "pipe.rec")
    with pytest.raises(UserError, match=r"pipe\.rec: .*not a regular file"):  # and does not wait
        RecordFile(tmp_path / "pipe.rec")
    (tmp_path / "empty.rec").touch()
    with pytest.raises(UserError, match=r"empty\.rec: the record file is empty"):
        RecordFile(tmp_path / "empty.rec")


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
        except BadImage as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert len(record.payload) < len(content)  # nothing from beyond the end


@pytest.mark.parametrize(
    ("labels", "message"),
    [(3.5, "3.5"), (-1.0, "-1.0"), (float("nan"), "nan"), (2.0**24, "16777216.0")],
)
def test_a_label_that_is_no_class(tmp_path, labels, message):
    written(tmp_path / "a.rec", b"image", labels=labels)
    with pytest.raises(
        BadImage, match=f"record 3: byte 0: label .*{message}.*whole number"
    ) as error:
        RecordFile(tmp_path / "a.rec").read_image(0, key=3)
    assert "a list or a folder can" in str(error.value)  # where larger classes can be kept


def test_the_class_is_the_first_label(tmp_path):
    written(tmp_path / "a.rec", b"image", labels=[5.0, 0.25])
    assert RecordFile(tmp_path / "a.rec").read_image(0) == (b"image", 5)
    written(tmp_path / "b.rec", b"", labels=5.0)
    with pytest.raises(BadImage, match=r"byte 0: the record holds no image"):
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


def test_records_are_on_the_disk_before_they_have_their_name(tmp_path, monkeypatch):
    calls = []

    def fsync(descriptor):
        calls.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.partition(".partial")[0])

    def replaced(old, new, replace=os.replace):
        calls.append(f"{new.name} replaced")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replaced)
    written(tmp_path / "a.rec", b"image", labels=1)
    assert calls == ["a.rec", "a.idx", "a.rec replaced", "a.idx replaced"]


def test_a_record_file_travels_to_a_spawned_process(tmp_path):
    written(tmp_path / "a.rec", b"image", labels=5)
    file = pickle.loads(pickle.dumps(RecordFile(tmp_path / "a.rec")))
    assert file.read_image(0) == (b"image", 5)


@given(content=st.lists(st.one_of(st.just(MAGIC), st.binary(max_size=12)), min_size=1))
def test_random_bytes_give_a_record_or_a_bad_image(tmp_path, content):
    path = tmp_path / "a.rec"
    path.write_bytes(b"".join(content) or b"\0")
    file = RecordFile(path)
    for offset in range(file.size + 1):
        try:
            assert len(file.read(offset).payload) < file.size
        except BadImage as error:
            assert f"{path}: byte " in str(error)


def test_a_record_longer_than_what_is_read_at_once(tmp_path):
    """Parts of all lengths around those that one system call reads."""
    payloads = [bytes(range(256)) * 300, *(b"x" * (16384 - 24 + more) for more in range(-2, 3))]
    payloads += [MAGIC.join([b"y" * 40_000, b"", b"z" * 252, b"w" * 256, b"v" * 1000])]
    with RecordWriter(tmp_path / "a.rec") as writer:
        offsets = [writer.write(key, data, labels=0) for key, data in enumerate(payloads)]
    file = RecordFile(tmp_path / "a.rec")
    assert [file.read(offset).payload for offset in offsets] == payloads


def test_many_parts_are_read_in_time(tmp_path):
    payload = MAGIC * 20_000
    written(tmp_path / "a.rec", payload, labels=0)
    begin = time.process_time()
    assert RecordFile(tmp_path / "a.rec").read(0).payload == payload
    assert time.process_time() - begin < 5


def test_a_file_cut_short_after_it_was_opened(tmp_path):
    written(tmp_path / "a.rec", b"image" * 1000, labels=5)
    file = RecordFile(tmp_path / "a.rec")
    os.truncate(tmp_path / "a.rec", 100)
    with pytest.raises(BadImage, match=r"a\.rec: record 4: byte 0: .*cut short since"):
        file.read(0, key=4)


def test_forked_processes_share_a_file(tmp_path):
    payloads = [bytes([key]) * 5000 for key in range(40)]
    with RecordWriter(tmp_path / "a.rec") as writer:
        offsets = [writer.write(key, data, labels=key) for key, data in enumerate(payloads)]
    file = RecordFile(tmp_path / "a.rec")
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            rows = list(range(40)) * 20
            good = all(file.read_image(offsets[row]) == (payloads[row], row) for row in rows)
            os._exit(0 if good else 1)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert file.read_image(offsets[3]) == (payloads[3], 3)


KILLED = """
import os, signal, sys
from plsc.data.records.recordio import RecordWriter

steps, real = int(sys.argv[2]), {}

def counted(name):
    def call(*args, **parameters):
        global steps
        steps -= 1
        if steps < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real[name](*args, **parameters)
    real[name] = getattr(os, name)
    setattr(os, name, call)

for name in ("fsync", "replace", "unlink"):
    counted(name)
with RecordWriter(sys.argv[1]) as writer:
    writer.write(7, b"new image", labels=1)
"""


@pytest.mark.parametrize("steps", range(6))
def test_a_killed_writer_leaves_no_mixed_pair(tmp_path, steps):
    """Killed before each of the calls that make the new pair appear."""
    before = written(tmp_path / "a.rec", b"old", key=3, labels=1)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.rec"), str(steps)])
    assert done.returncode in (0, -signal.SIGKILL)
    records = (tmp_path / "a.rec").read_bytes()
    index = tmp_path / "a.idx"
    if index.exists():
        assert index.read_text() == ("3\t0\n" if records == before else "7\t0\n")
    images = RecordImages([tmp_path / "a.rec"])
    assert images.read(0) == (b"old" if records == before else b"new image", 1)
    assert [path.name for path in rec_files(tmp_path)] == ["a.rec"]
    if steps == 0:
        assert records == before and index.exists()


def test_the_writer_holds_no_index_in_memory(tmp_path):
    """The index grows on disk as records are written."""
    with RecordWriter(tmp_path / "a.rec") as writer:
        for key in range(5000):
            writer.write(key, b"", labels=0)
        [partial] = tmp_path.glob("a.idx.partial-*")
        assert partial.stat().st_size > 5000
        assert not (tmp_path / "a.idx").exists()
    assert (tmp_path / "a.idx").read_text().splitlines()[-1].startswith("4999\t")
