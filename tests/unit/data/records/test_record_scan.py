import json
import multiprocessing
import os
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pickles import damaged
from places import GOLDEN

from plsc.data.records import record_scan
from plsc.data.records.record_scan import find_index, scan, write_index
from plsc.data.records.recordio import MAGIC, RecordFile, RecordWriter
from plsc.data.sets.base import BadImage
from plsc.errors import UserError

CASES = GOLDEN / "recordio_cases"
EXPECTED = json.loads((CASES / "expected.json").read_text())


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "plsc"


def written(path, ids, *, payload=b"image"):
    with RecordWriter(path) as writer:
        for key, id_ in enumerate(ids):
            writer.write(key, payload, labels=0, id=id_)
    text = path.with_suffix(".idx").read_text()
    path.with_suffix(".idx").unlink()
    return RecordFile(path), text


@pytest.mark.parametrize("case", EXPECTED)
def test_the_index_made_is_the_one_mxnet_wrote(tmp_path, case):
    shutil.copy(CASES / f"{case}.rec", tmp_path / "a.rec")
    path = find_index(RecordFile(tmp_path / "a.rec"))
    assert path == tmp_path / "a.idx"
    assert path.read_bytes() == (CASES / f"{case}.idx").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.idx", "a.rec"]


def test_the_index_made_of_real_faces(tmp_path, real_faces):
    shutil.copy(real_faces / "train.rec", tmp_path)
    made = find_index(RecordFile(tmp_path / "train.rec"))
    assert made.read_bytes() == (real_faces / "train.idx").read_bytes()


@pytest.mark.parametrize(
    ("ids", "keys"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([5, 0, 9, 2**40], [5, 0, 9, 2**40]),  # shuffled
        ([0, 0, 0], [0, 1, 2]),  # no ids
        ([3, 1, 3], [0, 1, 2]),
        ([1, 2**64 - 1], [0, 1]),  # more than an index can hold
    ],
)
def test_keys_are_the_ids_if_they_tell_records_apart(tmp_path, ids, keys):
    file, text = written(tmp_path / "a.rec", ids)
    offsets = [line.split("\t")[1] for line in text.splitlines(keepends=True)]
    made = find_index(file).read_text()
    assert made == "".join(f"{key}\t{at}" for key, at in zip(keys, offsets, strict=True))


parts = st.lists(st.one_of(st.binary(max_size=9), st.just(MAGIC)), max_size=6).map(b"".join)
# A header that holds the magic at a multiple of 4 is itself cut into parts.
magic = struct.unpack("<I", MAGIC)[0]
ids = st.one_of(st.integers(0, 50), st.just(magic), st.just(magic << 32), st.just(magic | 7 << 32))


@given(st.lists(st.tuples(ids, parts), min_size=1, max_size=6, unique_by=lambda row: row[0]))
def test_every_record_that_is_written_is_found(tmp_path, rows):
    with RecordWriter(tmp_path / "a.rec") as writer:
        offsets = [writer.write(0, payload, labels=[1, 2], id=id_) for id_, payload in rows]
    assert list(scan(RecordFile(tmp_path / "a.rec"))) == [
        (at, id_) for at, (id_, _) in zip(offsets, rows, strict=True)
    ]


RANDOM = st.lists(st.one_of(st.just(MAGIC), st.just(bytes(4)), st.binary(max_size=12)))


@given(st.one_of(damaged([(CASES / "multipart.rec").read_bytes()]), RANDOM.map(b"".join)))
def test_any_bytes_give_an_index_or_a_bad_image(tmp_path, content):
    path = tmp_path / "a.rec"
    path.write_bytes(content or b"\0")
    file = RecordFile(path)
    try:
        offsets = [offset for offset, _ in scan(file)]
    except BadImage as error:
        assert str(error).startswith(f"{path}: byte ") and "\n" not in str(error)
    else:
        assert offsets == sorted(set(offsets)) and 0 <= offsets[0] <= offsets[-1] < file.size


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-3], r"byte 88: 29 bytes should follow, the file has 117: truncated"),
        (lambda data: data[:84], r"byte 80: .* the file has 84 bytes"),
        (lambda data: data[:40] + b"\0" + data[41:], r"byte 40: no record begins here"),
        (lambda data: data[:47] + b"\x40" + data[48:], r"byte 40: part 1 .* place 2"),
        (lambda data: data + bytes(8), r"byte 120: no record begins here"),
        (lambda data: data + MAGIC + struct.pack("<II", 4, 0), r"byte 120: 4 bytes are too few"),
    ],
)
def test_a_damaged_file_gets_no_index(tmp_path, cache, damage, message):
    written(tmp_path / "a.rec", range(3))
    path = tmp_path / "a.rec"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"a\.rec: {message}"):
        find_index(RecordFile(path))
    assert os.listdir(tmp_path) == ["a.rec"]
    assert not cache.exists()


def test_reads_only_heads(tmp_path):
    """A sparse file of 300 GB takes no longer than its few records."""
    path = tmp_path / "a.rec"
    longest = 2**29 - 4
    head = MAGIC + struct.pack("<I", longest) + struct.pack("<IfQQ", 0, 1.0, 0, 0)
    count = 560
    with open(path, "wb") as file:
        for number in range(count):
            file.seek(number * (longest + 8))
            file.write(head[:16] + struct.pack("<Q", number) + head[24:])
        file.truncate(count * (longest + 8))
    assert path.stat().st_size > 300e9
    begin = time.process_time()
    found = list(scan(RecordFile(path)))
    assert time.process_time() - begin < 5
    assert found == [(number * (longest + 8), number) for number in range(count)]


def test_an_index_beside_is_used_as_it_is(tmp_path):
    file, _ = written(tmp_path / "a.rec", range(3))
    (tmp_path / "a.idx").write_text("0\t0\n")
    assert find_index(file).read_text() == "0\t0\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def lock(folder, monkeypatch):
    """Make `folder` one that may not be written; chmod does not stop root."""
    real = os.open

    def open_(name, flags, *args, **parameters):
        if Path(name).parent == folder and flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", str(name))
        return real(name, flags, *args, **parameters)

    return lambda: monkeypatch.setattr(os, "open", open_)


def test_a_cache_holds_the_index_of_a_folder_that_cannot_be_written(
    folder, lock, cache, monkeypatch
):
    file, text = written(folder / "a.rec", range(3))
    lock()
    made = find_index(file)
    assert made.parent == cache and made.read_text() == text
    assert os.listdir(folder) == ["a.rec"] and os.listdir(cache) == [made.name]
    monkeypatch.setattr(record_scan, "write_index", None)  # a second start scans nothing
    assert find_index(RecordFile(folder / "a.rec")) == made


def test_an_index_in_the_cache_is_of_one_state_of_the_file(folder, lock, cache):
    file, _ = written(folder / "a.rec", range(3))
    lock()
    first = find_index(file)
    os.utime(folder / "a.rec", ns=(0, 12345))
    second = find_index(RecordFile(folder / "a.rec"))
    assert first != second and len(os.listdir(cache)) == 2


def test_nowhere_to_write_an_index(folder, lock, cache):
    file, _ = written(folder / "a.rec", range(3))
    lock()
    cache.parent.write_text("a file where a folder should be")
    with pytest.raises(UserError, match=r"a\.rec: there is no index, .*XDG_CACHE_HOME") as error:
        find_index(file)
    assert "Permission denied" in str(error.value) and "\n" not in str(error.value)


def test_a_user_without_a_home_needs_none(folder, lock, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    file, _ = written(folder / "a.rec", range(3))
    assert find_index(file) == folder / "a.idx"  # made
    assert find_index(file) == folder / "a.idx"  # found
    (folder / "a.idx").unlink()
    lock()
    with pytest.raises(UserError, match=r"a\.rec: there is no index, .*no home folder.*XDG_CACHE"):
        find_index(file)


def test_a_file_that_changes_while_it_is_scanned(tmp_path, monkeypatch):
    file, _ = written(tmp_path / "a.rec", range(3))
    written(tmp_path / "b.rec", range(30))

    def replaced_meanwhile(file, path):
        write_index(file, path)
        os.replace(tmp_path / "b.rec", tmp_path / "a.rec")

    monkeypatch.setattr(record_scan, "write_index", replaced_meanwhile)
    with pytest.raises(UserError, match=r"a\.rec: changed while its index was made"):
        find_index(file)
    assert os.listdir(tmp_path) == ["a.rec"]


def find_slowly(path, started, scans):
    real = record_scan.write_index

    def counted(file, place):
        with scans.get_lock():
            scans.value += 1
        time.sleep(0.3)
        real(file, place)

    record_scan.write_index = counted
    started.wait()
    text = find_index(RecordFile(path)).read_text()
    os._exit(0 if text.startswith("0\t0\n1\t40\n") else 1)


def test_one_of_many_processes_scans(tmp_path):
    written(tmp_path / "a.rec", range(50))
    fork = multiprocessing.get_context("fork")
    started, scans = fork.Barrier(6), fork.Value("i", 0)
    children = [
        fork.Process(target=find_slowly, args=(tmp_path / "a.rec", started, scans))
        for _ in range(6)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0] * 6
    assert scans.value == 1
    assert sorted(os.listdir(tmp_path)) == ["a.idx", "a.rec"]


STOPPED = textwrap.dedent("""
    import os, sys, time
    from plsc.data.records import record_scan
    from plsc.data.records.recordio import RecordFile

    def half(file, path):
        with open(path, "w") as out:
            out.write("0\\t0\\n")
        print("half", flush=True)
        time.sleep(60)

    record_scan.write_index = half
    record_scan.find_index(RecordFile(sys.argv[1]))
""")


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_scan_leaves_no_index_and_no_lock(tmp_path, kind):
    file, text = written(tmp_path / "a.rec", range(3))
    code = [sys.executable, "-c", STOPPED, str(tmp_path / "a.rec")]
    with subprocess.Popen(
        code, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stdout.readline() == "half\n"
        child.send_signal(kind)
        child.wait(20)
    assert not (tmp_path / "a.idx").exists()
    if kind == signal.SIGINT:
        assert os.listdir(tmp_path) == ["a.rec"]
    begin = time.monotonic()
    assert find_index(file).read_text() == text
    assert time.monotonic() - begin < 5


def test_progress_counts_bytes(tmp_path, monkeypatch):
    bars = []

    class Bar:
        def __init__(self, total, unit):
            self.total, self.unit, self.n = total, unit, 0
            bars.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            assert self.n == self.total

        def set_description(self, text):
            assert "a.rec" in text

        def update(self, more):
            assert more >= 0
            self.n += more

    monkeypatch.setattr(record_scan, "progress_bar", Bar)
    monkeypatch.setattr(record_scan, "RECORDS_AT_ONCE", 2)
    file, text = written(tmp_path / "a.rec", range(9), payload=bytes(500_000))
    assert find_index(file).read_text() == text
    assert [(bar.total, bar.unit) for bar in bars] == [(5, "MB")]
