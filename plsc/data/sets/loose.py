"""Images without classes: anywhere below a folder, or named one by one."""

import os
from collections.abc import Sequence
from pathlib import Path

from plsc.data.lists.image_root import shown
from plsc.data.sets.files import IMAGE_ENDINGS, ImageFiles, is_image_name, is_system_folder
from plsc.data.sets.folder import FolderImages
from plsc.errors import UserError


class LooseImages(ImageFiles):
    """All images below a folder, sorted by path, folder by folder.

    Hidden files and folders do not count; links are followed, each folder once.
    """

    def __init__(self, root: str | Path):
        """List the folder and those in it.

        Raises:
            UserError: one cannot be listed, or there are no images.

        """
        self._root = str(root)
        self._names = _names_below(self._root)
        if not self._names:
            raise UserError(f"{shown(self._root)}: holds no images ({' '.join(IMAGE_ENDINGS)})")

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self._names)

    def path(self, index: int) -> str:
        """Return the file's path."""
        return os.path.join(self._root, self._names[index])

    def name(self, index: int) -> str:
        """Return the path below the folder."""
        return self._names[index]


class NamedImages(ImageFiles):
    """Image files in the order given."""

    def __init__(self, paths: Sequence[str]):
        """Look whether the files are there.

        Raises:
            UserError: one is none, or a folder or anything else than an image by its name.

        """
        for path in paths:
            if os.path.isdir(path):
                raise UserError(f"{shown(path)}: is a folder: give one folder, or image files")
            if not os.path.exists(path):
                raise UserError(f"{shown(path)}: no such file")
            if not is_image_name(path):
                raise UserError(
                    f"{shown(path)}: is no image by its name ({' '.join(IMAGE_ENDINGS)}): give "
                    "image files, or one list, folder or .rec file"
                )
        self._paths = list(paths)

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self._paths)

    def path(self, index: int) -> str:
        """Return the path as it was given."""
        return self._paths[index]

    name = path


def folder_images(root: str | Path) -> FolderImages | LooseImages:
    """Return the images of a folder: with classes if its folders are of identities, else without.

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
        folders[:] = (
            [] if place in seen else [name for name in folders if not is_system_folder(name)]
        )
        below = os.path.relpath(folder, root)
        if place not in seen:
            found = [name for name in files if _is_image(name)]
            names += found if below == os.curdir else [os.path.join(below, name) for name in found]
        seen.add(place)
    return sorted(names, key=lambda name: name.split(os.sep))


def _is_image(name: str) -> bool:
    return name[0] != "." and is_image_name(name)
