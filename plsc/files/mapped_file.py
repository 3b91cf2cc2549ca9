"""Files that are read at any place: checked when they are opened, mapped or not."""

import mmap
import os
import stat
from pathlib import Path

from plsc.errors import UserError

BINARY = getattr(os, "O_BINARY", 0)  # Windows would change line ends


def open_regular(path: str | Path, what: str) -> int:
    """Return a descriptor for reading the file.

    Raises:
        UserError: it is missing, unreadable, no regular file or empty; the message calls it `what`.

    """
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)  # opening a pipe would wait
        descriptor = os.open(path, os.O_RDONLY | BINARY) if regular else -1
    except (OSError, ValueError) as error:  # ValueError: a path that holds a zero byte
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: the {what} cannot be read: {reason}") from error
    if not regular:
        raise UserError(f"{path}: the {what} cannot be read: not a regular file")
    if not os.fstat(descriptor).st_size:
        os.close(descriptor)
        raise UserError(f"{path}: the {what} is empty")
    return descriptor


def map_file(path: str | Path, what: str) -> mmap.mmap:
    """Map the file's bytes for reading, without a copy; forked processes share them.

    Raises:
        UserError: as `open_regular`; or the system cannot map it.

    """
    descriptor = open_regular(path, what)
    try:
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: emptied since
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: the {what} cannot be read: {reason}") from error
    finally:
        os.close(descriptor)
