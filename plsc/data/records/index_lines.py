"""The lines of an `.idx` file, a key and an offset each, read block by block: no text stays."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from plsc.data.lists.text_lines import MOST_DIGITS, Lines, blocks_of_lines
from plsc.errors import UserError
from plsc.files.mapped_file import open_regular

LINE = "a key and a byte offset"


def index_entries(path: str | Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the keys and offsets of the lines, in order: blocks of int64 [n], int64 [n].

    Blank lines do not count; the numbers are parted by a tab (fast) or by other white space.

    Raises:
        UserError: the file is missing, unreadable or empty, or a line is not two whole numbers of
            at most 18 digits; names file and line.

    """
    with open(open_regular(path, "index"), "rb") as text:
        for lines in blocks_of_lines(text, "\t", path=path):
            keys, plain = lines.numbers(lines.begins, lines.splits)
            offsets, also = lines.numbers(lines.splits + 1, lines.ends)
            plain &= also
            if not plain.all():
                filled = np.ones(len(plain), bool)
                for row in np.flatnonzero(~plain).tolist():
                    numbers = _numbers(lines, row, path)
                    filled[row] = bool(numbers)
                    keys[row], offsets[row] = numbers or (0, 0)
                keys, offsets = keys[filled], offsets[filled]
            yield keys, offsets


def _numbers(lines: Lines, row: int, path: str | Path) -> tuple[int, int] | None:
    fields = lines.line(row).split()
    if not fields:
        return None
    if len(fields) != 2 or not all(f.isdigit() and len(f) <= MOST_DIGITS for f in fields):
        number, shown = lines.line_number(lines.begins[row]), repr(lines.line(row)[:60])
        raise UserError(f"{path}:{number}: must be {LINE}, got {shown.removeprefix('b')}")
    return int(fields[0]), int(fields[1])
