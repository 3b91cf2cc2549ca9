"""Image files that are named one by one."""

import os
from collections.abc import Sequence

from plsc.data.lists.image_root import shown
from plsc.data.sets.base import ImageSource
from plsc.data.sets.files import read_file
from plsc.data.sets.folder import IMAGE_ENDINGS
from plsc.data.sets.loose import NO_CLASS
from plsc.errors import UserError


class NamedImages(ImageSource):
    """Image files in the order given.

    Attributes:
        labels: None.

    """

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
        self.labels = self.num_classes = None

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._paths)

    def read(self, index: int) -> tuple[bytes, int]:
        """The image file, and -1 for no class.

        Raises:
            BadImage: the file cannot be read.

        """
        return read_file(self._paths[index], lambda: self.where(index)), NO_CLASS

    def where(self, index: int) -> str:
        """The file, quoted if its name cannot be printed in one line."""
        return shown(self._paths[index])

    def name(self, index: int) -> str:
        """The path as it was given."""
        return self._paths[index]


def is_image_name(path: str) -> bool:
    """Whether a path ends as those of image files do."""
    return os.path.splitext(path)[1].lower() in IMAGE_ENDINGS
