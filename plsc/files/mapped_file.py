"""Files that are read at any place: checked when they are opened, mapped or not."""

import errno
import json
import mmap
import os
import stat
from pathlib import Path
from typing import Any

from plsc.errors import UserError, first_line

BINARY = getattr(os, "O_BINARY", 0)  # Windows would change line ends
AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # a pipe that nobody writes to would be waited for
MOST_JSON_BYTES = 16 * 2**20  # what plsc writes as JSON has kilobytes


def open_regular(path: str | Path, what: str) -> int:
    """Return a descriptor for reading the file.

    Raises:
        UserError: it is missing, unreadable, no regular file or empty; the message calls it `what`.

    """
    descriptor = _opened(path, what)
    if not os.fstat(descriptor).st_size:
        os.close(descriptor)
        raise UserError(f"{path}: the {what} is empty")
    return descriptor


def read_regular(path: str | Path, what: str, *, most_bytes: int) -> bytes:
    """Return the bytes of a small file.

    Raises:
        UserError: it is missing, unreadable, no regular file or larger than `most_bytes`; the
            message calls it `what`.

    """
    descriptor = _opened(path, what)
    try:
        return read_descriptor(descriptor, most_bytes=most_bytes)
    except OSError as error:
        raise UserError(f"{path}: the {what} cannot be read: {error.strerror or error}") from error
    finally:
        os.close(descriptor)


def read_json(path: str | Path, what: str, *, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """Return what a JSON file holds.

    Raises:
        UserError: as `read_regular`; or it is no JSON, or nested too deeply.

    """
    content = read_regular(path, what, most_bytes=most_bytes)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else first_line(error)
        raise UserError(f"{path}: the {what} is damaged: {reason}") from error


def regular(path: str | Path, flags: int = os.O_RDONLY) -> int:
    """Return a descriptor of a regular file; no pipe and no device is waited for.

    It is what `open` takes as `opener`, for readers that turn an OSError into a line of their own.

    Raises:
        OSError: it is missing, unreadable or no regular file.

    """
    descriptor = os.open(path, flags | BINARY | AT_ONCE)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise OSError(errno.EINVAL, "not a regular file")


def read_descriptor(descriptor: int, *, most_bytes: int) -> bytes:
    """Return all bytes of an open regular file.

    Raises:
        OSError: the system cannot read them, or there are more than `most_bytes`.

    """
    size = os.fstat(descriptor).st_size
    if size > most_bytes:
        raise OSError(errno.EFBIG, f"it has {size} bytes, at most {most_bytes} are read")
    pieces = []
    while size > 0 and (piece := os.read(descriptor, size)):
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _opened(path: str | Path, what: str) -> int:
    try:
        return regular(path)
    except (OSError, ValueError) as error:  # ValueError: a path that holds a zero byte
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: the {what} cannot be read: {reason}") from error


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
