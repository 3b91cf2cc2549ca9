"""A file that is read piece by piece, at any place, by any of several processes."""

import os
import weakref
from pathlib import Path

from plsc.files.mapped_file import open_regular
from plsc.files.offsets import read_at


class RandomAccessFile:
    """An open file without a position of its own: forked processes may share it.

    Read, not mapped. A `pread` of 16 KiB gets a face in one disk access; a mapping takes one for
    each page, or reads ahead what a file far larger than memory will have dropped when it is asked
    for. Measured with 6 KB records in random order, nothing cached: 32,000 to 50,000 reads a second
    against 18,000 to 20,000 of a mapping with MADV_RANDOM (88,000 without, of a file that fits into
    memory). All cached a mapping is faster, 1 against 5 microseconds, beside the 50 to 110 that
    decoding takes; but it grows by all that was read, in each worker (0.9 GB against 0.04 after
    0.9 GB), and a file that is cut short meanwhile ends the process with SIGBUS.

    Attributes:
        path: as given.
        size: bytes, when it was opened.

    """

    def __init__(self, path: str | Path, what: str):
        """Open it; messages call it `what`.

        Raises:
            UserError: it is missing, unreadable, no regular file, or empty.

        """
        self.path = Path(path)
        self._descriptor = open_regular(path, what)
        weakref.finalize(self, os.close, self._descriptor)
        self._state = _state(os.fstat(self._descriptor))
        self.size = self._state[0]

    def read(self, position: int, count: int) -> bytes:
        """Return the `count` bytes from `position` on.

        Raises:
            OSError: the system cannot read them, or the file ends before.

        """
        content = read_at(self._descriptor, count, position)
        if len(content) < count:
            raise OSError(0, f"the file had {self.size} bytes and was cut short since")
        return content

    def unchanged(self) -> bool:
        """Tell whether the path still leads to the file that was opened, as it was then."""
        return _state(os.stat(self.path)) == self._state


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino
