"""Text files of two whole numbers a line, read block by block: nothing of the text stays."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from plsc.data.lists.text_lines import MOST_DIGITS, Lines, blocks_of_lines
from plsc.errors import UserError
from plsc.files.mapped_file import open_regular


def number_pairs(path: str | Path, file: str, line: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield first and second number of the lines, in order: blocks of int64 [n], int64 [n].

    Blank lines do not count; numbers are parted by a tab (fast) or by other white space.

    Args:
        path: the file.
        file: what messages call it.
        line: what messages say that a line holds: `a key and a byte offset`, for instance.

    Raises:
        UserError: the file is missing, unreadable or empty, or a line is not two whole numbers of
            at most 18 digits; names file and line.

    """
    with open(open_regular(path, file), "rb") as text:
        for lines in blocks_of_lines(text, "\t", path=path):
            first, plain = lines.numbers(lines.begins, lines.splits)
            second, also = lines.numbers(lines.splits + 1, lines.ends)
            plain &= also
            if not plain.all():
                filled = np.ones(len(plain), bool)
                for row in np.flatnonzero(~plain).tolist():
                    numbers = _numbers(lines, row, path, line)
                    filled[row] = bool(numbers)
                    first[row], second[row] = numbers or (0, 0)
                first, second = first[filled], second[filled]
            yield first, second


def _numbers(lines: Lines, row: int, path: str | Path, line: str) -> tuple[int, int] | None:
    fields = lines.line(row).split()
    if not fields:
        return None
    if len(fields) != 2 or not all(f.isdigit() and len(f) <= MOST_DIGITS for f in fields):
        number, shown = lines.line_number(lines.begins[row]), repr(lines.line(row)[:60])
        raise UserError(f"{path}:{number}: must be {line}, got {shown.removeprefix('b')}")
    return int(fields[0]), int(fields[1])
