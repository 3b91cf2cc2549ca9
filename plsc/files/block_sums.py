"""Checksums of a file by blocks, so that any part of it can be checked without reading the rest.

CRC-32 is in the standard library, runs at several gigabytes a second, and finds every flipped bit.
"""

import zlib
from collections.abc import Callable

import numpy as np

BLOCK_BYTES = 2**19
DIGITS = 8  # hexadecimal, of one sum


class RunningSums:
    """Sums of what is being written, as it is written."""

    def __init__(self) -> None:
        self._whole: list[int] = []
        self._crc = self._filled = 0

    def add(self, data: np.ndarray) -> None:
        """Take in the next bytes [n] uint8."""
        start = 0
        while start < len(data):
            stop = min(len(data), start + BLOCK_BYTES - self._filled)
            self._crc = zlib.crc32(data[start:stop].data, self._crc)
            self._filled += stop - start
            start = stop
            if self._filled == BLOCK_BYTES:
                self._whole.append(self._crc)
                self._crc = self._filled = 0

    def text(self) -> str:
        """Return the sums of all blocks in hexadecimal digits, the last one of what it has."""
        sums = [*self._whole, self._crc] if self._filled else self._whole
        return "".join(f"{crc:0{DIGITS}x}" for crc in sums)


def first_wrong_block(
    text: str, data: np.ndarray, place: int, size: int, read: Callable[[int, int], np.ndarray]
) -> int | None:
    """Return the first block that is not what was written, of those with bytes in `data`.

    Args:
        text: from `RunningSums.text`, of the whole file.
        data: bytes of the file, uint8.
        place: of the first of them.
        size: of the file.
        read: count, place -> further bytes, of which the blocks at both ends need some.

    """
    if not len(data):
        return None
    end, start = place + len(data), place // BLOCK_BYTES * BLOCK_BYTES
    for first in range(start, end, BLOCK_BYTES):
        stop = min(first + BLOCK_BYTES, size)
        crc = zlib.crc32(read(place - first, first).data) if first < place else 0
        crc = zlib.crc32(data[max(first - place, 0) : stop - place].data, crc)
        crc = zlib.crc32(read(stop - end, end).data, crc) if stop > end else crc
        number = first // BLOCK_BYTES
        if text[number * DIGITS : (number + 1) * DIGITS] != f"{crc:0{DIGITS}x}":
            return number
    return None
