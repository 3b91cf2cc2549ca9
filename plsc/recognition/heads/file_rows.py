"""Keep rows in a file, for more rows than memory holds."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from plsc.distributed.collectives import gather_objects
from plsc.distributed.world import current
from plsc.errors import UserError
from plsc.files.offsets import reserve
from plsc.files.rounding import NUMPY_DTYPES, Stored
from plsc.recognition.heads.stores import ArrayRows, RowNumbers, count

GB = 1e9
# Linux caches the bytes of one write in pages of up to 2 MB. A later write of a few bytes marks a
# whole page as dirty, and writing it back makes a step seven times slower. 64 kB: a block of rows.
WRITE_BYTES = 65_536
Transfer = Callable[[int, list[memoryview], int], int]  # os.preadv, os.pwritev


class FileRows(ArrayRows):
    """Rows in a file without a name; the file vanishes with the process, however it ends.

    The rows are read and written by offset, not through a mapping. Memory then holds only what a
    step asks for, and a failing disk raises an error, where a mapping would kill the process. The
    page cache of the system uses the memory that is free.

    Args:
        folder: folder of the file.
        shape: [num_rows, d]; the rows are zero at first.
        dtype: see NUMPY_DTYPES.

    Raises:
        UserError: the folder has no room for the file.

    """

    def __init__(self, folder: Path, shape: tuple[int, int], dtype: str):
        super().__init__(shape, dtype)
        self._folder, self._row_bytes = folder, shape[1] * NUMPY_DTYPES[dtype].itemsize
        size = shape[0] * self._row_bytes
        try:
            # TemporaryFile makes no name (O_TMPFILE) or unlinks it at once.
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
            reserve(self._file.fileno(), 0, size)
        except OSError as error:
            raise _no_file(folder, size, error) from error

    def read(self, numbers: RowNumbers, out: Stored | None = None) -> Stored:
        """See ArrayRows."""
        if out is None:
            out = np.empty((count(numbers, self.shape[0]), self.shape[1]), NUMPY_DTYPES[self.dtype])
        memory = _bytes_of(out)
        for offset, start, stop in self._runs(numbers):
            self._transfer(os.preadv, memory[start:stop], offset)
        return out

    def write(self, numbers: RowNumbers, values: Stored) -> None:
        """See ArrayRows."""
        assert values.dtype == NUMPY_DTYPES[self.dtype]
        assert len(values) == count(numbers, self.shape[0])
        memory = _bytes_of(np.ascontiguousarray(values))
        for offset, start, stop in self._runs(numbers):
            for done in range(0, stop - start, WRITE_BYTES):
                part = memory[start + done : min(start + done + WRITE_BYTES, stop)]
                self._transfer(os.pwritev, part, offset + done)

    def expect(self, numbers: RowNumbers) -> None:
        """Ask the system to read these rows into its cache, without waiting for them."""
        if hasattr(os, "posix_fadvise"):
            for offset, start, stop in self._runs(numbers):
                advice = os.POSIX_FADV_WILLNEED
                os.posix_fadvise(self._file.fileno(), offset, stop - start, advice)

    def _runs(self, numbers: RowNumbers) -> Iterator[tuple[int, int, int]]:
        """Yield (offset in the file, start and stop in memory), in bytes, of each run of rows."""
        size = self._row_bytes
        if isinstance(numbers, slice):
            first, last, _ = numbers.indices(self.shape[0])
            yield first * size, 0, (last - first) * size
            return
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        starts = np.concatenate([[0], breaks]) if len(numbers) else breaks
        stops = [*breaks.tolist(), len(numbers)]
        for row, start, stop in zip(numbers[starts].tolist(), starts.tolist(), stops, strict=False):
            yield row * size, start * size, stop * size

    def _transfer(self, function: Transfer, memory: memoryview, offset: int) -> None:
        """Transfer all of `memory`; one system call may transfer only a part of it."""
        while memory:
            try:
                done = function(self._file.fileno(), [memory], offset)
            except OSError as error:
                raise UserError(
                    f"the file of class centres in {self._folder} cannot be read or written "
                    f"({error.strerror}): check that disk, or set Model.pfc_config.storage_dir"
                ) from error
            assert done, "the file ends before its rows"
            memory, offset = memory[done:], offset + done


def _bytes_of(array: Stored) -> memoryview:
    """Return the memory of a contiguous array."""
    assert array.flags.c_contiguous
    return array.view(np.uint8).reshape(-1).data


def make_files(
    folder: Path, shape: tuple[int, int], *, names: tuple[str, ...], dtype: str
) -> dict[str, FileRows]:
    """Make one file per tensor. All ranks call this together; all return or all raise.

    Raises:
        UserError: the folder of a rank has no room for the files of all ranks on its host.

    """
    size = len(names) * shape[0] * shape[1] * NUMPY_DTYPES[dtype].itemsize
    _check_space(folder, size)
    files, failure = {}, ""
    try:
        files = {name: FileRows(folder, shape, dtype) for name in names}
    except UserError as error:
        failure = str(error)
    for message in gather_objects(failure):
        if message:
            raise UserError(message)
    return files


def _check_space(folder: Path, size: int) -> None:
    """Check that the disk of each host has room for its ranks; all ranks raise the same error."""
    failure, free = "", 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        failure = str(_no_file(folder, size, error))
    ranks = gather_objects((current().host, size, free, failure))
    for host, _, space, message in ranks:
        needed = sum(size for other, size, _, _ in ranks if other == host)
        if not message and needed > space:
            message = (
                f"{folder} on {host} has {space / GB:.1f} GB free, the class centres and their "
                f"optimizer state need {needed / GB:.1f} GB: make room, or set "
                "Model.pfc_config.storage_dir to a folder on a larger disk, or dtype to bfloat16"
            )
        if message:
            raise UserError(message)


def _no_file(folder: Path, size: int, error: OSError) -> UserError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    what = f"no room for {size / GB:.1f} GB of class centres" if full else "no file can be made"
    return UserError(
        f"{folder}: {what} ({error.strerror}): set Model.pfc_config.storage_dir to another folder"
    )
