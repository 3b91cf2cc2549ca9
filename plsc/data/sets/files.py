"""Image files by path, and sets of them."""

import os
import stat
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from plsc.data.lists.image_root import shown
from plsc.data.sets.base import NO_CLASS, BadImage, ImageSource
from plsc.errors import UserError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")  # in either case
FILES_TO_TRY = 3  # at start: a wrong image_root shows at once, without a look at each file


def read_file(path: str, where: Callable[[], str]) -> bytes:
    """Return the file's bytes.

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
    """Tell a folder at `path` from anything else.

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


def is_image_name(path: str) -> bool:
    """Tell whether a path ends as those of image files do."""
    return os.path.splitext(path)[1].lower() in IMAGE_ENDINGS


class ImageFiles(ImageSource):
    """Images of which each is a file of its own.

    A set of another kind says where they are by `path`; without `labels` they have no classes.
    """

    labels: np.ndarray | None = None
    num_classes: int | None = None

    @abstractmethod
    def path(self, index: int) -> str:
        """Return the file's path."""

    def read(self, index: int) -> tuple[bytes, int]:
        """Return the image file and its class.

        Raises:
            BadImage: the file cannot be read.

        """
        label = NO_CLASS if self.labels is None else int(self.labels[index])
        return read_file(self.path(index), lambda: self.where(index)), label

    def where(self, index: int) -> str:
        """Return the path, quoted if it cannot be printed in one line."""
        return shown(self.path(index))
