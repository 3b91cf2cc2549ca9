"""Image files by path."""

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from plsc.data.sets.base import BadImage
from plsc.errors import UserError

FILES_TO_TRY = 3  # at start: a wrong image_root shows at once, without a look at each file


def read_file(path: str, where: Callable[[], str]) -> bytes:
    """The file's bytes.

    Args:
        path: the file.
        where: what the message calls it; asked for only then.

    Raises:
        BadImage: it cannot be read.

    """
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a path that holds a zero byte
        reason = getattr(error, "strerror", None) or error
        raise BadImage(f"{where()}: cannot be read: {reason}") from error


def is_folder(path: str | Path) -> bool:
    """Whether a folder is at `path`, or something else.

    Raises:
        UserError: nothing is there, or nobody may look.

    """
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file or folder") from error
    except (OSError, ValueError) as error:  # ValueError: a path that holds a zero byte
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}") from error


def try_files(paths: Sequence[str], image_root: str, listed_in: str) -> None:
    """Look whether the first files of a list are there.

    Raises:
        UserError: `image_root` is no folder, or a file is missing.

    """
    if not Path(image_root).is_dir():
        raise UserError(f"image_root: {image_root} is not a folder")
    for path in paths[:FILES_TO_TRY]:
        if not os.path.isfile(path):
            raise UserError(
                f"{path}: no such file, {listed_in} lists it: is image_root {image_root!r} right?"
            )
