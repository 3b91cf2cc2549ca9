"""Rows in a file: more of them than memory holds, and no more memory than a step takes."""

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
# Linux keeps what one call writes in cache pages of up to 2 MB, and a few bytes written there later
# count as so much to be written back: seven times the time of a step. 64 kB is a block of rows.
WRITE_BYTES = 65_536
Transfer = Callable[[int, list[memoryview], int], int]  # os.preadv, os.pwritev


class FileRows(ArrayRows):
    """Rows in a file without a name, which is gone when the process is, however it ends.

    Read and written by offset rather than mapped: memory then holds only what is asked for, and a
    disk that fails raises an error where a mapping would kill the process. The system's page cache
    keeps what memory is left for.

    Args:
        folder: where the file is.
        shape: [num_rows, d]; all zero at first.
        dtype: see NUMPY_DTYPES.

    Raises:
        UserError: the folder has no place for it.

    """

    def __init__(self, folder: Path, shape: tuple[int, int], dtype: str):
        super().__init__(shape, dtype)
        self._folder, self._row_bytes = folder, shape[1] * NUMPY_DTYPES[dtype].itemsize
        size = shape[0] * self._row_bytes
        try:
            # TemporaryFile leaves no name behind: it makes none (O_TMPFILE), or unlinks it at once.
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
        """Ask the system to read these rows into its cache, many at once; do not wait for them."""
        if hasattr(os, "posix_fadvise"):
            for offset, start, stop in self._runs(numbers):
                advice = os.POSIX_FADV_WILLNEED
                os.posix_fadvise(self._file.fileno(), offset, stop - start, advice)

    def _runs(self, numbers: RowNumbers) -> Iterator[tuple[int, int, int]]:
        """Yield runs of neighbours in bytes: offset in the file, and start and stop in memory."""
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
        """Transfer all of `memory`: one call of the system may do less than it is asked for."""
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
    """Make a file per tensor; called by all ranks, which all go on or all raise.

    Raises:
        UserError: a rank's folder has no place for its files and those of the ranks beside it.

    """
    size = len(names) * shape[0] * shape[1] * NUMPY_DTYPES[dtype].itemsize
    _check_space(folder, size)
    made, failure = {}, ""
    try:
        made = {name: FileRows(folder, shape, dtype) for name in names}
    except UserError as error:
        failure = str(error)
    for said in gather_objects(failure):
        if said:
            raise UserError(said)
    return made


def _check_space(folder: Path, size: int) -> None:
    """Compare what the ranks of each host need with what its disk has; all ranks raise alike."""
    failure, free = "", 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        failure = str(_no_file(folder, size, error))
    ranks = gather_objects((current().host, size, free, failure))
    for host, _, space, said in ranks:
        needed = sum(size for other, size, _, _ in ranks if other == host)
        if not said and needed > space:
            said = (
                f"{folder} on {host} has {space / GB:.1f} GB free, the class centres and their "
                f"optimizer state need {needed / GB:.1f} GB: make room, or set "
                "Model.pfc_config.storage_dir to a folder on a larger disk, or dtype to bfloat16"
            )
        if said:
            raise UserError(said)


def _no_file(folder: Path, size: int, error: OSError) -> UserError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    what = f"no room for {size / GB:.1f} GB of class centres" if full else "no file can be made"
    return UserError(
        f"{folder}: {what} ({error.strerror}): set Model.pfc_config.storage_dir to another folder"
    )
