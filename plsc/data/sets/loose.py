"""Images anywhere below a folder, without classes."""

import os
from pathlib import Path

from plsc.data.lists.image_root import shown
from plsc.data.sets.base import ImageSource
from plsc.data.sets.files import read_file
from plsc.data.sets.folder import IMAGE_ENDINGS, FolderImages
from plsc.errors import UserError

NO_CLASS = -1


class LooseImages(ImageSource):
    """All images below a folder, sorted by path, folder by folder.

    Hidden files and folders do not count; links are followed, each folder once.

    Attributes:
        labels: None.

    """

    def __init__(self, root: str | Path):
        """List the folder and those in it.

        Raises:
            UserError: one cannot be listed, or there are no images.

        """
        self._root = str(root)
        self._names = _names_below(self._root)
        self.labels = self.num_classes = None
        if not self._names:
            raise UserError(f"{shown(self._root)}: holds no images ({' '.join(IMAGE_ENDINGS)})")

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._names)

    def read(self, index: int) -> tuple[bytes, int]:
        """The image file, and -1 for no class.

        Raises:
            BadImage: the file cannot be read.

        """
        path = os.path.join(self._root, self._names[index])
        return read_file(path, lambda: self.where(index)), NO_CLASS

    def where(self, index: int) -> str:
        """The file, quoted if its name cannot be printed in one line."""
        return shown(os.path.join(self._root, self._names[index]))

    def name(self, index: int) -> str:
        """The path below the folder."""
        return self._names[index]


def folder_images(root: str | Path) -> ImageSource:
    """The images of a folder: with classes if it is one of identities' folders, else without.

    Raises:
        UserError: it cannot be listed, or there are no images below it.

    """
    try:
        files = [entry.name for entry in os.scandir(root) if entry.is_file()]
        if not any(map(_is_image, files)):
            return FolderImages(root)
    except (UserError, OSError):
        pass  # what is no folder of identities may still hold images; if not, that is said below
    return LooseImages(root)


def _names_below(root: str) -> list[str]:
    def refuse(error: OSError) -> None:
        raise UserError(f"{shown(str(error.filename))}: cannot be listed: {error.strerror}")

    names, seen = [], set()
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        place = os.path.realpath(folder)
        folders[:] = [] if place in seen else [name for name in folders if name[0] != "."]
        below = os.path.relpath(folder, root)
        if place not in seen:
            found = [name for name in files if _is_image(name)]
            names += found if below == os.curdir else [os.path.join(below, name) for name in found]
        seen.add(place)
    return sorted(names, key=lambda name: name.split(os.sep))


def _is_image(name: str) -> bool:
    return name[0] != "." and os.path.splitext(name)[1].lower() in IMAGE_ENDINGS
