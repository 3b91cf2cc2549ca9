"""A file that is read at any place, with all that is read checked by the file's sums."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from plsc.errors import DamagedFile, UserError
from plsc.files.block_sums import BLOCK_BYTES, DIGITS, first_wrong_block
from plsc.files.mapped_file import open_regular
from plsc.files.offsets import read_into

CHECKED_BYTES = 4 * BLOCK_BYTES  # read, then checked in another thread while the next are read


class CheckedFile:
    """A file opened for reading, until `close`.

    Args:
        path: of the file.
        what: it is, for messages.
        sums: of its blocks (`RunningSums.text`); without, nothing is checked.

    Attributes:
        size: of the file, in bytes.

    Raises:
        DamagedFile: it is missing, has another size, or the system cannot read it.

    """

    def __init__(self, path: Path, what: str, sums: str | None = None):
        self._path, self._sums = path, sums
        self._beside = ThreadPoolExecutor(1)
        try:
            self._descriptor = open_regular(path, what)
        except UserError as error:
            raise DamagedFile(str(error)) from error
        self.size = os.fstat(self._descriptor).st_size
        if sums is not None and -(-self.size // BLOCK_BYTES) * DIGITS != len(sums):
            self.close()
            raise self.unreadable(f"it has {self.size} bytes, not as many as were written")

    def close(self) -> None:
        """Close the file."""
        self._beside.shutdown()
        os.close(self._descriptor)

    def read(self, count: int, place: int) -> np.ndarray:
        """Return bytes from `place` on, uint8; the interpreter's lock is free meanwhile.

        Raises:
            DamagedFile: they cannot be read, or are not what was written.

        """
        values, checks, end = np.empty(count, np.uint8), [], place + count
        start = place
        while start < end:
            stop = min(end, (start // CHECKED_BYTES + 1) * CHECKED_BYTES)
            some = values[start - place : stop - place]
            self._fill(some, start)
            if self._sums is not None:
                checks.append(self._beside.submit(self._check, self._sums, some, start))
            start = stop
        for check in checks:
            check.result()
        return values

    def unreadable(self, why: str) -> DamagedFile:
        """Return the error that names the file."""
        return DamagedFile(f"{self._path} cannot be read: {why}")

    def _check(self, sums: str, values: np.ndarray, place: int) -> None:
        block = first_wrong_block(sums, values, place, self.size, self._unchecked)
        if block is not None:
            raise self.unreadable(
                f"bytes {block * BLOCK_BYTES} to {(block + 1) * BLOCK_BYTES} are not what was "
                "written: the disk or a copy has damaged them; copy the file anew or take another "
                "checkpoint"
            )

    def _unchecked(self, count: int, place: int) -> np.ndarray:
        values = np.empty(count, np.uint8)
        self._fill(values, place)
        return values

    def _fill(self, values: np.ndarray, place: int) -> None:
        done = 0
        while done < len(values):
            try:
                got = read_into(self._descriptor, values.data[done:], place + done)
            except OSError as error:
                raise self.unreadable(error.strerror or str(error)) from error
            if not got:
                raise self.unreadable(f"it ends at byte {place + done}")
            done += got
