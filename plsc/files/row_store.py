"""Rows of numbers in a folder, in whatever order they come; what a killed run has done stays.

    embeddings.npy    float32 [n, ...], of full size from the start: numpy can load it
    finished          int64 [n]: 0 until a row is written and synced, then a checksum
    about.json        what the rows are of, for people

A checksum is of the row's bytes and of the time stamps of what it was made of: neither a torn write
nor an image that was exchanged passes for done. Older folders have one for each 1024 rows.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.files.atomic import new_folder, replacing
from plsc.files.locks import only_holder
from plsc.files.offsets import reserve

ROWS, FINISHED, ABOUT = "embeddings.npy", "finished", "about.json"
BLOCK = 1024  # rows that are read at once; and that a checksum of older folders is of
MARK_SECONDS = 1.0  # of work that a kill costs, at most


class RowStore:
    """float32 [n, ...] on disk, read in slices; memory does not grow with it.

    Attributes:
        folder: where it is.
        shape: [n, ...].

    """

    def __init__(self, folder: str | Path, shape: tuple[int, ...], about: Mapping[str, Any]):
        """Open the folder, or make it if it is not there.

        Args:
            folder: a folder of its own.
            shape: [n, ...].
            about: what the rows are of.

        Raises:
            UserError: the folder cannot be made or read, or holds something else.

        """
        self.folder, self.shape = Path(folder), shape
        self._row_bytes = 4 * int(np.prod(shape[1:]))
        try:
            if not self.folder.exists():
                with new_folder(self.folder) as partial:
                    make_store(partial, shape, about)
            self._offset = self._data_offset()
            self._marks = np.fromfile(self.folder / FINISHED, "<i8")
            if len(self._marks) not in (shape[0], -(-shape[0] // BLOCK)):
                raise ValueError(f"{len(self._marks)} marks instead of {shape[0]}")
        except (OSError, ValueError, EOFError) as error:
            if isinstance(error, UserError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"{self.folder}: these embeddings cannot be used: {reason}; remove the folder"
            ) from error

    def missing(self, stamps: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return the rows that are missing, damaged, or of images that have changed since.

        Args:
            stamps: int64 [n, k], what is known of the image files without reading them.

        """
        total = self.shape[0]
        stamps = np.empty((total, 0), np.int64) if stamps is None else stamps
        by_row = len(self._marks) == total
        marks = self._marks if by_row else np.zeros(total, "<i8")
        left = []
        for number, start in enumerate(range(0, total, BLOCK)):
            rows = slice(start, min(start + BLOCK, total))
            if not (marks[rows].any() if by_row else self._marks[number]):
                left.append(np.arange(rows.start, rows.stop))
                continue
            values, own = self[rows], stamps[rows]
            found = _marks_of(values, own)
            if not by_row and self._marks[number] == _mark(values.tobytes(), own.tobytes()):
                marks[rows] = found
            left.append(start + np.flatnonzero(marks[rows] != found))
        if not by_row:
            with self._refusals(), replacing(self.folder / FINISHED) as path:
                path.write_bytes(marks.tobytes())
            self._marks = marks
        return np.concatenate(left) if left else np.empty(0, np.int64)

    @contextmanager
    def filling(self, *beside: IO[bytes]) -> Iterator[None]:
        """Open the store for `write`, and keep other processes from the same work.

        What was written is kept however the block ends.

        Args:
            beside: files that must be on the disk before the rows that are written after them.

        Raises:
            UserError: another process does it already, or the system refuses to write.

        """
        with ExitStack() as held:
            try:
                held.enter_context(only_holder(self.folder / FINISHED))
            except BlockingIOError:
                raise UserError(
                    f"{self.folder}: another process is filling it: wait for it to end, or name "
                    "another output"
                ) from None
            with self._refusals():
                self._files = [
                    held.enter_context(open(self.folder / name, "r+b")) for name in (ROWS, FINISHED)
                ]
            self._beside, self._unmarked = beside, list[NDArray[np.int64]]()
            self._marked = time.monotonic()
            try:
                yield
            finally:
                with self._refusals():
                    self._mark()

    def write(
        self,
        rows: NDArray[np.int64],
        values: NDArray[np.float32],
        stamps: NDArray[np.int64] | None = None,
    ) -> None:
        """Keep some rows; within `filling`.

        Args:
            rows: their numbers [k].
            values: [k, ...].
            stamps: of these rows [k, ...], as `missing` takes them.

        Raises:
            UserError: the system refuses to write.

        """
        kept = np.ascontiguousarray(values, "<f4")
        assert kept.shape == (len(rows), *self.shape[1:]), (kept.shape, self.shape)
        stamps = np.empty((len(rows), 0), np.int64) if stamps is None else stamps
        self._marks[rows] = _marks_of(kept, stamps)
        with self._refusals():
            for run in _runs(rows):
                self._files[0].seek(self._offset + int(rows[run.start]) * self._row_bytes)
                self._files[0].write(kept[run].tobytes())
            self._unmarked.append(rows)
            if time.monotonic() - self._marked >= MARK_SECONDS:
                self._mark()

    def _mark(self) -> None:
        """Have what was written on the disk, and then the marks that say so."""
        data, finished = self._files
        for file in (*self._beside, data):
            file.flush()
            os.fsync(file.fileno())
        for rows in self._unmarked:
            for run in _runs(rows):
                finished.seek(int(rows[run.start]) * self._marks.itemsize)
                finished.write(self._marks[rows[run]].tobytes())
        finished.flush()
        os.fsync(finished.fileno())
        self._unmarked.clear()
        self._marked = time.monotonic()

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """Return consecutive rows, as a copy."""
        start, stop, step = rows.indices(self.shape[0])
        assert step == 1, rows
        values = np.fromfile(
            self.folder / ROWS,
            "<f4",
            count=max(0, stop - start) * self._row_bytes // 4,
            offset=self._offset + start * self._row_bytes,
        )
        return values.reshape(-1, *self.shape[1:])

    def _data_offset(self) -> int:
        path = self.folder / ROWS
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
            offset = file.tell()
        if (shape, by_columns, dtype.str) != (self.shape, False, "<f4"):
            raise ValueError(f"they are {dtype} {list(shape)} instead of {list(self.shape)}")
        if path.stat().st_size != offset + self.shape[0] * self._row_bytes:
            raise ValueError("the file is cut short")
        return offset

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written: {error.strerror}") from error


def make_store(folder: Path, shape: tuple[int, ...], about: Mapping[str, Any]) -> None:
    """Write the files of a store in which nothing is done; the one that makes it a store, last."""
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with open(folder / ROWS, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.flush()
        reserve(file.fileno(), file.tell(), 4 * int(np.prod(shape)))
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    (folder / FINISHED).write_bytes(bytes(8 * shape[0]))


def _runs(rows: NDArray[np.int64]) -> Sequence[slice]:
    """Return the parts of `rows` in which they are consecutive."""
    ends = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    return [slice(*pair) for pair in zip(ends[:-1], ends[1:], strict=True) if pair[0] < pair[1]]


def _marks_of(values: NDArray[np.float32], stamps: NDArray[np.int64]) -> NDArray[np.int64]:
    pairs = zip(values, np.ascontiguousarray(stamps), strict=True)
    return np.array([_mark(row.tobytes(), stamp.tobytes()) for row, stamp in pairs], "<i8")


def _mark(values: bytes, stamps: bytes) -> int:
    return crc32(values, crc32(stamps)) + 1
