"""A file that is read piece by piece, at any place, by any of several processes."""

import os
import stat
import weakref
from pathlib import Path

from plsc.errors import UserError


class RandomAccessFile:
    """An open file without a position of its own: forked processes may share it.

    Read, not mapped. Of a file far larger than memory one `pread` of 16 KiB gets a face in one disk
    access (measured on record files, nothing cached: twice as many per second as from a mapping
    with MADV_RANDOM; all cached: a quarter more). It leaves nothing resident, where a mapping grows
    by all that was read, in each worker; and a file that is cut short meanwhile gives an error, not
    SIGBUS.

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
        try:
            regular = stat.S_ISREG(os.stat(path).st_mode)  # opening a pipe would wait
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if regular else -1
        except (OSError, ValueError) as error:  # ValueError: a path that holds a zero byte
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{path}: the {what} cannot be read: {reason}") from error
        if not regular:
            raise UserError(f"{path}: the {what} cannot be read: not a regular file")
        weakref.finalize(self, os.close, self._descriptor)
        self._state = _state(os.fstat(self._descriptor))
        self.size = self._state[0]
        if not self.size:
            raise UserError(f"{path}: the {what} is empty")

    def read(self, position: int, count: int) -> bytes:
        """The `count` bytes from `position` on.

        Raises:
            OSError: the system cannot read them, or the file ends before.

        """
        content = os.pread(self._descriptor, count, position)
        if len(content) < count:
            raise OSError(0, f"the file had {self.size} bytes and was cut short since")
        return content

    def unchanged(self) -> bool:
        """Whether the path still leads to the file that was opened, as it was then."""
        return _state(os.stat(self.path)) == self._state


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino
