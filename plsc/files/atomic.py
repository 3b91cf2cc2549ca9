"""A file that appears whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from plsc.errors import UserError


def require_writable(path: str | Path) -> None:
    """Refuse a file that could not be written, before the work that fills it.

    Raises:
        UserError: its folder is missing or closed to this user, or it is a folder itself.

    """
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise UserError(f"{path}: cannot be written: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{path}: cannot be written: no permission for {folder}")
    if Path(path).is_dir():
        raise UserError(f"{path}: cannot be written: it is a folder")


@contextmanager
def finished_file(path: str | Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` when the `with` block ends well.

    It keeps the ending of `path`. A kill leaves it behind; any other end removes it.

    Raises:
        UserError: the system refuses to write.

    """
    target = Path(path)
    partial = target.with_name(f"{target.stem}.partial-{secrets.token_hex(4)}{target.suffix}")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # most often it has its name by now, or never was
            partial.unlink()
