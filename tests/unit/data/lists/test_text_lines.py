import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plsc.data.lists import text_lines
from plsc.data.lists.text_lines import Column, blocks_of_lines
from plsc.errors import UserError


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", 16)
    monkeypatch.setattr(text_lines, "LONGEST_LINE", 40)


def rows_of(data, delimiter="\t"):
    """Line number, text, and what stands before the last delimiter (None without one)."""
    rows = []
    for lines in blocks_of_lines(io.BytesIO(data), delimiter, path="list"):
        for row in range(len(lines.begins)):
            line, begin, split = lines.line(row), lines.begins[row], lines.splits[row]
            before = None if split < begin else lines.text[begin:split].tobytes()
            assert data[lines.start + begin :].startswith(line)
            rows.append((lines.line_number(begin), line, before))
    return rows


ALPHABET = st.sampled_from([b"a", b"\t", b"\n", b"\n", b"\r", b" ", b"\xd0\xb6"])


@given(st.booleans(), st.lists(ALPHABET, max_size=120).map(b"".join))
def test_lines_are_those_of_a_plain_loop(marked, body):
    if max(map(len, body.split(b"\n"))) > 40:
        return
    expected = []
    for number, text in enumerate(body.split(b"\n"), start=1):
        path, found, _ = text.rpartition(b"\t")
        text = text.rstrip(b"\r ")
        if text:
            expected.append((number, text, path if found else None))
    assert rows_of(b"\xef\xbb\xbf" * marked + body) == expected


def test_a_line_that_does_not_end_is_no_text():
    assert len(rows_of(b"x" * 50 + b"\n" + b"y" * 56)) == 2
    for data in (b"a\n" * 20 + b"x" * 100 + b"\n", b"x" * 57):
        with pytest.raises(UserError, match=r"^list: a line is longer than 40 bytes near byte \d+"):
            list(blocks_of_lines(io.BytesIO(data), "\t", path="list"))


@given(
    st.lists(
        st.one_of(
            st.integers(0, 10**18 - 1).map(lambda number: b"%d" % number),
            st.integers(0, 10**4).map(lambda number: b"%018d" % number),
            st.sampled_from([b"", b"-1", b"1.0", b"1x", b"/", b":", b"9" * 19, b"1 2"]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_numbers(fields):
    data = b"\n".join(b"p\t" + field for field in fields)
    found = []
    for lines in blocks_of_lines(io.BytesIO(data), "\t", path="list"):
        values, sound = lines.numbers(lines.splits + 1, lines.ends)
        assert values.dtype == np.int64
        found += [int(value) if good else None for value, good in zip(values, sound, strict=True)]
    assert found == [
        int(field) if field.isdigit() and len(field) <= 18 else None for field in fields
    ]


@given(st.lists(st.lists(st.integers(0, 2**40), max_size=50), max_size=20))
def test_columns_hold_what_is_appended(parts):
    column = Column(np.uint16)
    for part in parts:
        column.append(np.array(part, np.int64))
    values = [value for part in parts for value in part]
    found = column.finish()
    assert found.tolist() == values
    assert found.dtype == (np.uint16 if max(values, default=0) < 2**16 else np.int64)


def test_a_file_that_cannot_be_read_on_is_named():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            if self.tell():
                raise OSError(5, "Input/output error")
            return super().read(size)

    with pytest.raises(UserError, match="^list: cannot be read: Input/output error"):
        list(blocks_of_lines(Broken(b"a\n" * 20), "\t", path="list"))
