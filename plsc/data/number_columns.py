"""Text files of two whole numbers a line, read block by block: nothing of the text stays."""

import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from plsc.errors import UserError

BLOCK_BYTES = 1 << 20  # what is made of a block stays in the processor's cache
MOST_DIGITS = 18  # fits in int64


def number_pairs(path: str | Path, what: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """First and second number of the lines, in order: blocks of int64 [n], int64 [n].

    Blank lines do not count; numbers are parted by a tab or by other white space.

    Args:
        path: the file.
        what: `key and byte offset`, for instance: what a line holds, for messages.

    Raises:
        UserError: the file is missing, unreadable or empty, or a line is not two whole numbers of
            at most 18 digits; names file and line.

    """
    rest, before = b"", 0
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise UserError(f"{path}: cannot be read: not a regular file")
        with open(path, "rb", buffering=0) as file:
            while block := file.read(BLOCK_BYTES):
                # A block without an end of line is longer than any two numbers: a bad line.
                cut = block.rfind(b"\n") + 1 or len(block)
                text = rest + block[:cut]
                rest = block[cut:]
                yield _pairs(text, before, path, what)
                before += text.count(b"\n")
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}") from error
    if rest:
        yield _pairs(rest + b"\n", before, path, what)
    elif not before:
        raise UserError(f"{path}: is empty, must hold lines of {what}")


def _pairs(text: bytes, before: int, path: str | Path, what: str) -> tuple[np.ndarray, np.ndarray]:
    for candidate in (text, text.replace(b"\r\n", b"\n").replace(b" ", b"\t")):
        characters = np.frombuffer(candidate, np.uint8)
        # Below "0" wraps round to above 9.
        breaks = np.flatnonzero(characters - np.uint8(ord("0")) > 9)
        widths = np.diff(breaks, prepend=-1) - 1
        if (
            len(breaks)
            and len(breaks) % 2 == 0
            and breaks[-1] == len(characters) - 1
            and (characters[breaks[0::2]] == ord("\t")).all()
            and (characters[breaks[1::2]] == ord("\n")).all()
            and widths.min() >= 1
            and widths.max() <= MOST_DIGITS
        ):
            numbers = np.fromstring(candidate, np.int64, len(breaks), sep=" ")
            return numbers[0::2], numbers[1::2]
    return _pairs_by_line(text, before, path, what)


def _pairs_by_line(
    text: bytes, before: int, path: str | Path, what: str
) -> tuple[np.ndarray, np.ndarray]:
    rows = []
    for number, line in enumerate(text.split(b"\n"), before + 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2 or not all(f.isdigit() and len(f) <= MOST_DIGITS for f in fields):
            shown = repr(line[:60]).removeprefix("b")
            raise UserError(f"{path}:{number}: must be {what}, got {shown}")
        rows.append((int(fields[0]), int(fields[1])))
    columns = np.array(rows, np.int64).reshape(-1, 2)
    return columns[:, 0], columns[:, 1]
