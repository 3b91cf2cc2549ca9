import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from places import GOLDEN

from plsc.data.records.record_index import (
    RecordIndex,
    count_identities,
    image_records,
    open_index,
    read_index,
)
from plsc.data.records.recordio import RecordFile, RecordWriter
from plsc.errors import UserError

CASES = GOLDEN / "recordio_cases"


def rows_of(path):
    index = read_index(path)
    assert index.offsets.dtype == np.int64
    return [(int(key), int(at)) for key, at in zip(*index, strict=True)]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("0\t0\n7\t40\n", [(0, 0), (7, 40)]),
        ("0\t0\n7\t40", [(0, 0), (7, 40)]),
        ("7\t40\n0\t0\n", [(0, 0), (7, 40)]),
        ("0\t0\r\n\r\n7\t40\r\n", [(0, 0), (7, 40)]),
        ("0 0\n 7 \t 40 \n", [(0, 0), (7, 40)]),
        ("\n\n007\t040\n\n", [(7, 40)]),
        ("1\t123456789012345678\n", [(1, 123456789012345678)]),
        ("123456789012345678\t8\n1\t4\n", [(1, 4), (123456789012345678, 8)]),
        ("999999999999999999\t999999999999999999\n", [(10**18 - 1, 10**18 - 1)]),
    ],
)
def test_index(tmp_path, text, rows):
    (tmp_path / "a.idx").write_text(text, newline="")
    assert rows_of(tmp_path / "a.idx") == rows


keys = st.one_of(st.integers(0, 30), st.integers(0, 5000), st.integers(0, 10**18 - 1))


@given(
    rows=st.dictionaries(keys, st.integers(0, 10**18 - 1), min_size=1),
    first=st.sampled_from([0, 1, 10**9]),
    gap=st.sampled_from(["\t", " ", " \t"]),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
)
def test_any_index_is_read_by_ascending_key(tmp_path, rows, first, gap, end):
    (tmp_path / "a.idx").write_text(
        "".join(f"{key + first}{gap}{at}{end}" for key, at in rows.items() if key + first < 10**18)
        or "5\t5",
        newline="",
    )
    wanted = sorted((key + first, at) for key, at in rows.items() if key + first < 10**18)
    assert rows_of(tmp_path / "a.idx") == (wanted or [(5, 5)])


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("step", [1, 2, 1000])
def test_an_index_of_many_blocks(tmp_path, shuffled, step):
    """Lines that cross the ends of blocks; keys in a row, with gaps, and far apart."""
    count = 150_000
    keys, offsets = np.arange(count) * step + 1, np.arange(count) * 4_000_000
    order = np.random.default_rng(0).permutation(count) if shuffled else np.arange(count)
    rows = zip(keys[order].tolist(), offsets[order].tolist(), strict=True)
    (tmp_path / "a.idx").write_text("".join(f"{key}\t{at}\n" for key, at in rows))
    index = read_index(tmp_path / "a.idx")
    assert np.array_equal(np.asarray(index.keys), keys)
    assert np.array_equal(index.offsets, offsets)
    assert isinstance(index.keys, range) == (step == 1)  # which takes no memory


BAD_LINES = [
    "7",
    "7\t",
    "7\tx",
    "7\t-4",
    "7\t4\t9",
    "\t4",
    "7\t" + "9" * 19,
    "x\0\t1",
    "7,4",
    "+7\t4",
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_index_line_is_named(tmp_path, line):
    (tmp_path / "a.idx").write_text(f"0\t0\n\n{line}\n")
    with pytest.raises(UserError, match=r"a\.idx:3: must be a key and a byte offset") as error:
        read_index(tmp_path / "a.idx")
    assert "\n" not in str(error.value)


def test_a_bad_line_behind_many_blocks_is_numbered(tmp_path):
    lines = "".join(f"{key}\t{key * 4_000_000}\n" for key in range(150_000))
    (tmp_path / "a.idx").write_text(f"{lines}150000\n")
    with pytest.raises(UserError, match=r"a\.idx:150001: .* got '150000'$"):
        read_index(tmp_path / "a.idx")


def test_a_huge_line_is_refused_in_few_words(tmp_path):
    (tmp_path / "a.idx").write_bytes(b"0\t0\n" + b"9" * 5_000_000)
    with pytest.raises(UserError, match=r"a\.idx: a line is longer") as error:
        read_index(tmp_path / "a.idx")
    assert len(str(error.value)) < 300 + len(str(tmp_path))


def test_no_index_at_all(tmp_path):
    with pytest.raises(UserError, match=r"a\.idx: the index cannot be read: No such file"):
        read_index(tmp_path / "a.idx")
    for content, message in (("", "the index is empty"), ("\n \n", "holds no record")):
        (tmp_path / "a.idx").write_text(content)
        with pytest.raises(UserError, match=rf"a\.idx: {message}"):
            read_index(tmp_path / "a.idx")
    os.mkfifo(tmp_path / "b.idx")
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "b.idx", "not a regular file")):
        with pytest.raises(UserError, match=f"the index cannot be read: {reason}"):
            read_index(path)


@pytest.mark.parametrize("text", ["5\t40\n6\t80\n5\t120\n", "5\t40\n" * 2, f"{10**17}\t8\n" * 2])
def test_a_key_that_occurs_twice(tmp_path, text):
    (tmp_path / "a.idx").write_text(text)
    key, first = text.split("\n")[0].split("\t")
    with pytest.raises(UserError, match=rf"a\.idx: record {key} occurs twice, .*{first} and "):
        read_index(tmp_path / "a.idx")


@given(text=st.one_of(st.binary(), st.text("0123456789\t\n\r -x").map(str.encode)))
@example(text=b"\xd9\xb3\t4\n")  # a digit, but not of ASCII
def test_random_bytes_give_an_index_or_a_user_error(tmp_path, text):
    path = tmp_path / "a.idx"
    path.write_bytes(text)
    try:
        rows = rows_of(path)
    except UserError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        lines = [line.split() for line in text.split(b"\n") if line.strip()]
        assert rows == sorted((int(key), int(at)) for key, at in lines)


@given(st.data())
def test_a_mutated_index_gives_images_or_a_user_error(tmp_path, data):
    """Whatever the index says, nothing but records of the file is read."""
    (tmp_path / "a.rec").write_bytes((CASES / "multipart.rec").read_bytes())
    text = bytearray((CASES / "multipart.idx").read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(text) - 1), max_size=3)):
        text[place] = data.draw(st.sampled_from(b"0123456789\t\n x"))
    (tmp_path / "a.idx").write_bytes(text)
    try:
        file = RecordFile(tmp_path / "a.rec")
        images = image_records(file, *open_index(file))
        for key, offset in zip(*images, strict=True):
            assert len(file.read(int(offset), key=int(key)).payload) < file.size
    except UserError as error:
        assert str(error).startswith(f"{tmp_path}/a.") and "\n" not in str(error)


def in_insightfaces_layout(path, *, images, identities, header=None):
    with RecordWriter(path) as writer:
        writer.write(0, b"", labels=header or [images + 1, images + 1 + identities])
        for key in range(1, images + 1):
            writer.write(key, b"image %d" % key, labels=key % 3)
        for key in range(images + 1, images + 1 + identities):
            writer.write(key, b"", labels=[1, 2])
    return RecordFile(path), read_index(path.with_suffix(".idx"))


def test_image_records_of_insightfaces_layout(tmp_path):
    file, index = in_insightfaces_layout(tmp_path / "a.rec", images=5, identities=2)
    keys, offsets = image_records(file, *index)
    assert list(keys) == [1, 2, 3, 4, 5]
    assert [file.read_image(int(at))[0] for at in offsets] == [b"image %d" % key for key in keys]
    assert count_identities(file, index) == 2
    lines = (tmp_path / "a.idx").read_text().splitlines(keepends=True)
    (tmp_path / "a.idx").write_text("".join(np.random.default_rng(0).permutation(lines)))
    assert np.array_equal(image_records(file, *read_index(tmp_path / "a.idx"))[1], offsets)


def test_image_records_without_a_header_record():
    for case, keys in {"no_header": [0, 2, 5, 9], "array_label": [1, 2, 3, 4, 5]}.items():
        file = RecordFile(CASES / f"{case}.rec")
        index = read_index(CASES / f"{case}.idx")
        assert list(image_records(file, *index)[0]) == keys
        assert count_identities(file, index) is None


def test_an_image_with_several_labels_at_key_0_is_no_header(tmp_path):
    with RecordWriter(tmp_path / "a.rec") as writer:
        writer.write(0, b"image", labels=[2, 9])
        writer.write(1, b"image", labels=[2, 9])
    file = RecordFile(tmp_path / "a.rec")
    assert list(image_records(file, *read_index(tmp_path / "a.idx"))[0]) == [0, 1]


@pytest.mark.parametrize("label", [0, -3, 2.5, float("inf"), float("nan")])
def test_a_header_record_that_counts_nothing(tmp_path, label):
    file, index = in_insightfaces_layout(
        tmp_path / "a.rec", images=2, identities=1, header=[label, 9]
    )
    with pytest.raises(UserError, match=r"a\.rec: record 0: byte 0: .*no number of images"):
        image_records(file, *index)


def test_a_header_record_that_counts_too_many(tmp_path):
    file, index = in_insightfaces_layout(tmp_path / "a.rec", images=2, identities=1, header=[9, 10])
    with pytest.raises(UserError, match=r"counts the images 1 to 8, of which the index has 3"):
        image_records(file, *index)


def test_an_index_that_lacks_an_image(tmp_path):
    file, _ = in_insightfaces_layout(tmp_path / "a.rec", images=3, identities=1)
    lines = (tmp_path / "a.idx").read_text().splitlines(keepends=True)
    (tmp_path / "a.idx").write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(UserError, match=r"counts the images 1 to 3, of which the index has 2"):
        image_records(file, *read_index(tmp_path / "a.idx"))


@pytest.mark.parametrize("labels", [[3], [3, 3], [3, 2], [3, float("nan")], [3, float("inf")]])
def test_a_header_record_that_counts_no_identities(tmp_path, labels):
    """Readers of this layout look at the first label only; some writers leave the second out."""
    file, index = in_insightfaces_layout(tmp_path / "a.rec", images=2, identities=0, header=labels)
    assert count_identities(file, index) is None
    assert list(image_records(file, *index)[0]) == [1, 2]


def test_identities_that_the_index_leaves_out_are_counted(tmp_path):
    file, index = in_insightfaces_layout(tmp_path / "a.rec", images=2, identities=5)
    assert count_identities(file, index) == 5
    assert count_identities(file, index.rows(0, 4)) == 5
    file, index = in_insightfaces_layout(
        tmp_path / "b.rec", images=2, identities=1, header=[3, 500]
    )
    assert count_identities(file, index) == 497


def test_counts_that_float32_rounds_are_found_in_the_records(tmp_path):
    """42,474,558 becomes 42,474,560 in float32; the records say where the images end."""
    first, stop = 42_474_558, 42_474_601
    with RecordWriter(tmp_path / "a.rec") as writer:
        writer.write(0, b"", labels=[float(np.float32(first)), float(np.float32(stop))])
        image = writer.write(1, b"image", labels=0)
        identity = writer.write(2, b"", labels=[1, 2])
    file = RecordFile(tmp_path / "a.rec")
    offsets = np.full(stop, image)
    offsets[first:] = identity
    offsets[0] = 0
    offsets[first - 2] = 5  # a damaged image near the end is not what is looked for
    index = RecordIndex(range(stop), offsets)
    keys, _ = image_records(file, *index)
    assert (keys[0], keys[-1], len(keys)) == (1, first - 1, first - 1)
    assert count_identities(file, index) == stop - first


def index_and_records(folder, changed):
    with RecordWriter(folder / "a.rec") as writer:
        for key in range(4):
            writer.write(key, b"image", labels=key)
    (folder / "a.idx").write_text(changed((folder / "a.idx").read_text()))
    return RecordFile(folder / "a.rec")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3\t100000", r"record 3: byte offset 100000 does not fit .*a\.rec .*file has 160 bytes"),
        ("3\t124", r"record 3: byte offset 124 does not fit .*a\.rec .*no record begins here"),
        ("3\t158", r"record 3: byte offset 158 does not fit .*a\.rec .*file has 160 bytes"),
    ],
)
def test_an_index_of_another_file_is_refused_at_opening(tmp_path, line, message):
    file = index_and_records(tmp_path, lambda text: text.replace("3\t120", line))
    with pytest.raises(UserError, match=rf"a\.idx: {message}.*delete the index"):
        open_index(file)


def test_an_index_of_some_of_the_records_is_enough(tmp_path, caplog):
    file = index_and_records(tmp_path, lambda text: "".join(text.splitlines(keepends=True)[1:]))
    assert list(open_index(file).keys) == [1, 2, 3] and not caplog.messages
    file = index_and_records(tmp_path, lambda text: "".join(text.splitlines(keepends=True)[1:3]))
    assert list(open_index(file).keys) == [1, 2]
    assert f"does not name the last 40 bytes of {file.path}" in caplog.messages[0]


MEASURE = textwrap.dedent("""
    import pathlib, re, sys, time
    from plsc.data.records.record_index import read_index

    def peak():  # not getrusage, which begins at the parent's
        return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

    before, begin = peak(), time.perf_counter()
    index = read_index(sys.argv[1])
    print(len(index.keys), time.perf_counter() - begin, peak() - before)
""")


@pytest.mark.parametrize("shuffled", [False, True])
def test_time_and_memory_grow_slowly(tmp_path, shuffled):
    """42.5 million records must take less than 10 s and 1 GB: 2 million less than a 20th."""
    count = 2_000_000
    keys = np.arange(count)
    if shuffled:
        np.random.default_rng(0).shuffle(keys)
    with open(tmp_path / "a.idx", "w") as file:
        for begin in range(0, count, 100_000):
            part = keys[begin : begin + 100_000].tolist()
            file.write("".join(f"{key}\t{280_000_000_000 + key * 7000}\n" for key in part))
    code = [sys.executable, "-c", MEASURE, str(tmp_path / "a.idx")]
    found, seconds, kilobytes = map(float, subprocess.check_output(code, text=True).split())
    assert found == count
    assert seconds < 10 / 20 * 2  # twice, for a busy machine
    assert kilobytes < 1e6 / 20
