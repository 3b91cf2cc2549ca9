"""Embeddings of all faces in one file that fills up chunk by chunk, and outlives a killed run.

`embeddings.npy` has its full size from the start; numpy can load it. `finished` has a number for
each chunk: 0 until it is written and synced, then a checksum of its bytes and of the time stamps of
its images, so that neither a torn write nor an image that was exchanged passes for done.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.files.atomic import new_folder
from plsc.files.locks import only_holder
from plsc.files.offsets import reserve

CHUNK = 1024  # faces: what a killed run computes again, at most
EMBEDDINGS, FINISHED, ABOUT = "embeddings.npy", "finished", "about.json"


class EmbeddingFile:
    """float32 [n, views, d] on disk, read in slices; memory does not grow with it.

    Attributes:
        folder: where it is.
        shape: [n, views, d].

    """

    def __init__(self, folder: str | Path, shape: tuple[int, int, int], about: Mapping[str, Any]):
        """Open the folder, or make it if it is not there.

        Args:
            folder: a folder of its own.
            shape: [n, views, d].
            about: what the embeddings are of, for people; kept beside them.

        Raises:
            UserError: the folder cannot be made or read, or holds something else.

        """
        self.folder, self.shape = Path(folder), shape
        self._row_bytes = 4 * shape[1] * shape[2]
        try:
            if not self.folder.exists():
                self._make(about)
            self._offset = self._data_offset()
            self._marks = np.fromfile(self.folder / FINISHED, "<i8")
            if len(self._marks) != self.num_chunks:
                raise ValueError(f"{len(self._marks)} marks instead of {self.num_chunks}")
        except (OSError, ValueError, EOFError) as error:
            if isinstance(error, UserError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"{self.folder}: these embeddings cannot be used: {reason}; remove the folder"
            ) from error

    @property
    def num_chunks(self) -> int:
        """How many chunks the faces make."""
        return -(-self.shape[0] // CHUNK)

    def rows(self, chunk: int) -> range:
        """The faces of a chunk."""
        return range(chunk * CHUNK, min((chunk + 1) * CHUNK, self.shape[0]))

    def unfinished(self, stamps: NDArray[np.int64]) -> list[int]:
        """The chunks that are missing, damaged, or of images that have changed since.

        Args:
            stamps: int64 [n, k], what is known of the image files without reading them.

        """
        left = []
        for chunk, mark in enumerate(self._marks.tolist()):
            rows = self.rows(chunk)
            if not mark or mark != _mark(self[rows.start : rows.stop], stamps[rows]):
                left.append(chunk)
        return left

    @contextmanager
    def filling(self) -> Iterator[None]:
        """While its chunks are written: keeps other processes from the same work.

        Raises:
            UserError: another process does it already.

        """
        with ExitStack() as held:
            try:
                held.enter_context(only_holder(self.folder / FINISHED))
            except BlockingIOError:
                raise UserError(f"{self.folder}: another process is filling it") from None
            yield

    def write(self, chunk: int, embeddings: NDArray[np.float32], stamps: NDArray[np.int64]) -> None:
        """Keep the embeddings [rows, views, d] of a chunk for good.

        Args:
            chunk: its number.
            embeddings: of its faces.
            stamps: as `unfinished` takes them.

        Raises:
            UserError: the system refuses to write.

        """
        rows = self.rows(chunk)
        kept = np.ascontiguousarray(embeddings, "<f4")
        assert kept.shape == (len(rows), *self.shape[1:]), (kept.shape, self.shape)
        self._marks[chunk] = _mark(kept, stamps[rows])
        places = [
            (EMBEDDINGS, kept, self._offset + rows.start * self._row_bytes),
            (FINISHED, self._marks[chunk : chunk + 1], chunk * self._marks.itemsize),
        ]
        try:
            for name, values, offset in places:  # the mark last, when what it stands for is safe
                with open(self.folder / name, "r+b", buffering=0) as file:
                    file.seek(offset)
                    _write_all(file.fileno(), values.tobytes())
                    os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written: {error.strerror}") from error

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """Consecutive faces, as a copy."""
        start, stop, step = rows.indices(self.shape[0])
        assert step == 1, rows
        values = np.fromfile(
            self.folder / EMBEDDINGS,
            "<f4",
            count=max(0, stop - start) * self._row_bytes // 4,
            offset=self._offset + start * self._row_bytes,
        )
        return values.reshape(-1, *self.shape[1:])

    def _make(self, about: Mapping[str, Any]) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": self.shape}
        with new_folder(self.folder) as folder:
            with open(folder / EMBEDDINGS, "wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                file.flush()
                reserve(file.fileno(), file.tell(), self.shape[0] * self._row_bytes)
            (folder / FINISHED).write_bytes(bytes(8 * self.num_chunks))
            (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    def _data_offset(self) -> int:
        path = self.folder / EMBEDDINGS
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
            offset = file.tell()
        if (shape, by_columns, dtype.str) != (self.shape, False, "<f4"):
            raise ValueError(f"they are {dtype} {list(shape)} instead of {list(self.shape)}")
        if path.stat().st_size != offset + self.shape[0] * self._row_bytes:
            raise ValueError("the file is cut short")
        return offset


def _mark(embeddings: NDArray[np.float32], stamps: NDArray[np.int64]) -> int:
    return crc32(embeddings.tobytes(), crc32(np.ascontiguousarray(stamps).tobytes())) + 1


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
