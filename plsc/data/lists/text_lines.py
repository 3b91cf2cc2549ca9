"""Large text tables, a line per row, parsed in numpy.

A list of 42 million images is 1.3 GB of text: lines are positions in the block that was read last,
and whole numbers are read column by column, so that memory does not grow with the file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from plsc.errors import UserError

BLOCK_BYTES = 1 << 20  # with all that is computed of it, it stays in the processor's cache
LONGEST_LINE = 0xFFFF  # bytes; the paths of an operating system end at 4096
MOST_DIGITS = 18  # fits in int64
NEWLINE, RETURN, SPACE, TAB, ZERO = (ord(character) for character in "\n\r \t0")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # of UTF-8, from editors on Windows


@dataclass(frozen=True)
class Lines:
    """Some of the lines of a file that are not blank, as positions in `text`.

    Attributes:
        text: uint8 bytes of the block.
        start: where the block begins in the file.
        number: which line of the file the block begins with, counted from 1.
        begins: int64 [n], where each line begins in `text`.
        splits: int64 [n], where its last delimiter stands; before `begins` if it has none.
        ends: int64 [n], behind its last character (carriage returns and spaces at the end are
            none).

    """

    text: np.ndarray
    start: int
    number: int
    begins: np.ndarray
    splits: np.ndarray
    ends: np.ndarray

    def line(self, row: int) -> bytes:
        """Return the characters of line `row` of the block."""
        return self.text[self.begins[row] : self.ends[row]].tobytes()

    def line_number(self, position: int) -> int:
        """Return which line of the file `position` in `text` is in, counted from 1."""
        return self.number + int((self.text[:position] == NEWLINE).sum())

    def numbers(self, begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return numbers int64 [n] between these positions; which are plain digits, bool [n]."""
        sound = (ends > begins) & (ends - begins <= MOST_DIGITS)
        width = np.where(sound, ends - begins, 0).astype(np.uint8)
        values = np.zeros(len(begins), np.int64)
        at = ends - 1
        for place in range(int(width.max(initial=0))):
            inside = place < width
            digit = self.text.take(at, mode="clip")
            digit -= np.uint8(ZERO)  # what is below "0" wraps round to above 9
            sound &= ~inside | (digit <= 9)
            digit *= inside
            values += digit * np.int64(10**place)
            at -= 1
        return values, sound


def blocks_of_lines(file: BinaryIO, delimiter: str, *, path: str | Path) -> Iterator[Lines]:
    """Yield all lines of `file` (buffered), split at the last `delimiter` (one ASCII character).

    Raises:
        UserError: a block has no end of a line for long: this is no text; or the system cannot
            read it. Names `path`.

    """
    start, number, rest = 0, 1, b""
    while True:
        try:
            block = file.read(BLOCK_BYTES)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
        text, last = rest + block, len(block) < BLOCK_BYTES
        if start == 0 and text.startswith(BYTE_ORDER_MARK):
            start, text = len(BYTE_ORDER_MARK), text.removeprefix(BYTE_ORDER_MARK)
        stop = text.rfind(b"\n") + 1
        if len(text) - stop > BLOCK_BYTES + LONGEST_LINE:
            raise UserError(
                f"{path}: a line is longer than {LONGEST_LINE} bytes near byte {start}: is this a "
                "text file?"
            )
        stop = len(text) if last else stop
        rest = text[stop:]
        if stop:
            newlines, lines = _lines(np.frombuffer(text, np.uint8, stop), start, number, delimiter)
            yield lines
            number += newlines
            start += stop
        if last:
            return


def _lines(text: np.ndarray, start: int, number: int, delimiter: str) -> tuple[int, Lines]:
    """Return how many lines end in `text`, and those that are not blank."""
    marks = np.flatnonzero((text == NEWLINE) | (text == ord(delimiter)))
    is_newline = text[marks] == NEWLINE
    which = np.flatnonzero(is_newline)
    ends = marks[which]
    newlines = len(ends)
    if text[-1] != NEWLINE:
        which, ends = np.append(which, len(marks)), np.append(ends, len(text))
    begins = np.concatenate([[0], ends[:-1] + 1])
    # The mark before the end of a line: a delimiter, or else the end of the line before.
    splits = np.concatenate([[-1], marks])[which]
    ends = _without_trailing_blanks(text, begins, ends)
    filled = ends > begins
    if not filled.all():
        begins, splits, ends = begins[filled], splits[filled], ends[filled]
    return newlines, Lines(text, start, number, begins, splits, ends)


def _without_trailing_blanks(text: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    for _ in range(2):  # for all lines at once: "\r\n", or one space
        last = text.take(ends - 1, mode="clip")
        blank = ((last == RETURN) | (last == SPACE)) & (ends > begins)
        if not blank.any():
            return ends
        ends = ends - blank
    for row in np.flatnonzero(blank):
        line = text[begins[row] : ends[row]].tobytes()
        ends[row] = begins[row] + len(line.rstrip(b"\r "))
    return ends


class Column:
    """A growing array that is never held twice: where it grows the system moves its pages."""

    def __init__(self, dtype: type[np.integer]):
        self._values = np.empty(0, dtype)
        self._length = 0

    def append(self, values: np.ndarray) -> None:
        """Add values; one that the type cannot hold makes the whole array int64."""
        if len(values) and int(values.max()) > np.iinfo(self._values.dtype).max:
            self._values = self._values.astype(np.int64)
        stop = self._length + len(values)
        if stop > len(self._values):
            self._values.resize(stop + stop // 8, refcheck=False)
        self._values[self._length : stop] = values
        self._length = stop

    def finish(self) -> np.ndarray:
        """Return the array [n]; the column is not used after this."""
        self._values.resize(self._length, refcheck=False)
        return self._values
