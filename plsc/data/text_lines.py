"""Large text tables of two columns (`path<TAB>label`, `key<TAB>offset`), parsed in numpy.

A list of 42 million images is 2 GB of text: lines stay where they are, as positions in the mapped
file, and whole numbers are read column by column.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BLOCK_BYTES = 1 << 24
MOST_DIGITS = 18  # fits in int64
NEWLINE, RETURN = ord("\n"), ord("\r")


@dataclass(frozen=True)
class Lines:
    """Some of the lines of a file that are not blank, as positions in `text`.

    Attributes:
        text: uint8 bytes of the block.
        start: where the block begins in the file.
        begins: int64 [n], where each line begins in `text`.
        splits: int64 [n], where its last delimiter stands; before `begins` if it has none.
        ends: int64 [n], behind its last character (a carriage return is none).

    """

    text: np.ndarray
    start: int
    begins: np.ndarray
    splits: np.ndarray
    ends: np.ndarray

    def line(self, row: int) -> bytes:
        """The characters of line `row` of the block."""
        return self.text[self.begins[row] : self.ends[row]].tobytes()

    def numbers(self, begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers int64 [n] between these positions, and which are plain digits, bool [n]."""
        width = ends - begins
        sound = (width >= 1) & (width <= MOST_DIGITS)
        values = np.zeros(len(begins), np.int64)
        for place in range(int(width[sound].max(initial=0))):
            inside = sound & (place < width)
            # Below "0" wraps round to above 9.
            digit = self.text[np.where(inside, ends - 1 - place, 0)] - np.uint8(ord("0"))
            sound &= ~inside | (digit <= 9)
            values += np.where(inside, digit, 0) * np.int64(10**place)
        return values, sound


def blocks_of_lines(data: mmap.mmap | bytes, delimiter: str) -> Iterator[Lines]:
    """All lines of `data` in order, split at the last `delimiter` (one ASCII character)."""
    whole = np.frombuffer(data, np.uint8)
    start = 0
    while start < len(whole):
        stop = min(start + BLOCK_BYTES, len(whole))
        if stop < len(whole):
            stop = data.rfind(b"\n", start, stop) + 1 or len(whole)
        yield _lines(whole[start:stop], start, ord(delimiter))
        start = stop


def _lines(text: np.ndarray, start: int, delimiter: int) -> Lines:
    ends = np.flatnonzero(text == NEWLINE)
    if len(text) and text[-1] != NEWLINE:
        ends = np.append(ends, len(text))
    begins = np.concatenate([[0], ends[:-1] + 1])
    ends = ends - ((ends > begins) & (text[ends - 1] == RETURN))
    filled = ends > begins
    begins, ends = begins[filled], ends[filled]
    delimiters = np.concatenate([[-1], np.flatnonzero(text == delimiter)])
    last = delimiters[np.searchsorted(delimiters, ends) - 1]
    return Lines(text, start, begins, last, ends)


def line_number(data: mmap.mmap | bytes, position: int) -> int:
    """Which line, counted from 1, the byte at `position` is in."""
    before = np.frombuffer(data, np.uint8, position)
    starts = range(0, position, BLOCK_BYTES)
    return 1 + sum(int((before[at : at + BLOCK_BYTES] == NEWLINE).sum()) for at in starts)
