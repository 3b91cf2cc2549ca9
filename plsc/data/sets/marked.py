"""Photographs in which faces are marked, as images of a set."""

import os
from pathlib import Path

from plsc.data.lists.face_list import FaceList, is_face_list, read_face_list
from plsc.data.lists.image_root import shown
from plsc.data.lists.label_list import LABEL_FILE
from plsc.data.sets.files import FILES_TO_TRY, ImageFiles, try_files

IMAGE_FOLDER = "images"  # beside the list, as RetinaFace's label.txt has it


class MarkedImages(ImageFiles):
    """The images of a list of faces; they have no classes.

    Attributes:
        faces: what the list says.

    """

    def __init__(self, faces: FaceList, image_root: str | None = None):
        """Look whether the first images are there.

        Args:
            faces: what is marked.
            image_root: the folder that paths begin at; `images` beside the list if not given.

        Raises:
            UserError: one is missing.

        """
        self.faces = faces
        self.root = image_root or str(Path(faces.path).parent / IMAGE_FOLDER)
        first = range(min(FILES_TO_TRY, len(faces)))
        try_files([self.path(index) for index in first], self.root, faces.path)

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.faces)

    def path(self, index: int) -> str:
        """Return the file's path."""
        return os.path.join(self.root, self.faces.names[index])

    def name(self, index: int) -> str:
        """Return the path as it is listed."""
        return self.faces.names[index]

    def where(self, index: int) -> str:
        """Return the file, and the line that lists it."""
        return f"{shown(self.path(index))} ({self.faces.where(index)})"


def marked_list(path: str | Path) -> Path | None:
    """Return the list of faces at `path`: that file, or a folder's label.txt; None: is no such."""
    place = Path(path)
    place = place / LABEL_FILE if place.is_dir() else place
    return place if place.is_file() and is_face_list(place) else None


def open_marked(path: str | Path, image_root: str | None = None) -> MarkedImages | None:
    """Return the images of the list of faces at `path`, all that it names; None: is no such list.

    Raises:
        UserError: the list is damaged, or its images are not there.

    """
    place = marked_list(path)
    return None if place is None else MarkedImages(read_face_list(place), image_root)
