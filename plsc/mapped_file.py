"""A file's bytes without a copy of them in memory."""

import mmap
from pathlib import Path

from plsc.errors import UserError


def map_file(path: str | Path, what: str) -> mmap.mmap:
    """The file's bytes, mapped for reading; shared by processes that are forked later.

    Raises:
        UserError: it is missing, unreadable or empty; the message calls it `what`.

    """
    try:
        with open(path, "rb") as file:
            if Path(path).stat().st_size == 0:
                raise UserError(f"{path}: the {what} is empty")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UserError(f"{path}: the {what} cannot be read: {error.strerror}") from error
