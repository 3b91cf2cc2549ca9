"""Image files by path, and sets of them."""

import os
import stat
import unicodedata
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from plsc.data.lists.image_root import shown
from plsc.data.sets.base import NO_CLASS, BadImage, ImageSource
from plsc.data.sets.image_file import MOST_IMAGE_BYTES
from plsc.errors import UserError
from plsc.files.mapped_file import read_descriptor, regular

IMAGE_ENDINGS = (  # in either case: what OpenCV reads as colours from 0 to 255
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jp2", ".ppm", ".pgm"),
    *(".jpe", ".dib", ".pbm", ".pnm", ".pxm", ".ras", ".sr"),
)
SYSTEM_FOLDERS = {  # that storage devices and operating systems leave behind
    *("@eadir", "__macosx", "lost+found", "#recycle", "#snapshot", "$recycle.bin"),
    *("system volume information", "@recycle", "@recently-snapshot", "__pycache__", "recycler"),
}
FILES_TO_TRY = 3  # at start: a wrong image_root shows at once, without a look at each file


def read_file(path: str, where: Callable[[], str]) -> bytes:
    """Return the file's bytes.

    Args:
        path: the file.
        where: what the message calls it; asked for only then.

    Raises:
        BadImage: it cannot be read, is no regular file or larger than MOST_IMAGE_BYTES.

    """
    try:
        descriptor = regular(path)
        try:
            return read_descriptor(descriptor, most_bytes=MOST_IMAGE_BYTES)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:  # ValueError: a path that holds a zero byte
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, FileNotFoundError):
            reason = why_missing(path) or reason
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


def try_files(
    paths: Sequence[str], image_root: str, listed_in: str, line: Callable[[int], str] | None = None
) -> None:
    """Look whether the first files of a list are there; `line` says where each is listed.

    Raises:
        UserError: `image_root` is no folder, or a file is missing.

    """
    if not Path(image_root).is_dir():
        raise UserError(f"image_root: {image_root} is not a folder")
    for row, path in enumerate(paths[:FILES_TO_TRY]):
        if not os.path.isfile(path):
            where = line(row) if line is not None else listed_in
            if reason := why_missing(path):
                raise UserError(f"{where}: {shown(path)}: {reason}")
            raise UserError(
                f"{path}: no such file, {listed_in} lists it: is image_root {image_root!r} right?"
            )


def why_missing(path: str) -> str:
    """Return why a listed file is not found where that can be seen, with the remedy; or ""."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return "no such file, and this line is not UTF-8 text (GBK?): save the list as UTF-8"
    if "\\" in path and os.path.exists(path.replace("\\", "/")):
        return "no such file: the list writes \\ between folders: replace each by /"
    plain = path.replace('"', "").rstrip()
    if plain != path and os.path.exists(plain):
        return "no such file: its name is in quotes or blanks in the list: leave them out"
    found = "/" if path.startswith("/") else os.curdir
    notes = set()
    for part in filter(None, path.split("/")):
        if os.path.lexists(os.path.join(found, part)):
            found = os.path.join(found, part)
            continue
        same = _same_name(found, part)
        if same is None:
            return ""
        name, note = same
        notes.add(note)
        found = os.path.join(found, name)
    return f"no such file: {' and '.join(sorted(notes))}" if notes else ""


def _same_name(folder: str, name: str) -> tuple[str, str] | None:
    """Return what a folder has for a name in another spelling, and how they differ."""
    for form, other in (("NFC", "NFD"), ("NFD", "NFC")):
        composed = unicodedata.normalize(form, name)  # type: ignore[arg-type]
        if composed != name and os.path.lexists(os.path.join(folder, composed)):
            return composed, (
                f"the disk has {name} in Unicode's form {form}, the list in {other}: convert the "
                f"list, as with `uconv -x {form}`"
            )
    try:
        there = next((item for item in os.listdir(folder) if item.lower() == name.lower()), None)
    except OSError:
        return None
    return None if there is None else (there, f"the disk has {there}, the list {name}")


def is_system_folder(name: str) -> bool:
    """Tell a folder that is no identity's: hidden, or a system's."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


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
