"""Which kind of source a path is: record files, a list of images, a folder per identity."""

import itertools
import os
import re
from pathlib import Path
from typing import Literal

from plsc.data.lists.label_list import LABEL_FILE
from plsc.data.sets.base import ImageSource
from plsc.data.sets.files import is_folder
from plsc.data.sets.folder import FolderImages
from plsc.data.sets.listed import ListedImages
from plsc.data.sets.records import RecordImages, rec_files_in
from plsc.errors import UserError
from plsc.files.mapped_file import open_regular

FIRST_LINES = 20
LONGEST_LINE = 1 << 16  # bytes
DELIMITERS = ("\t", ",", ";", "|", ":", " ")  # a path may hold those that come later
LAYOUTS = ("plsc", "magface")
MAGFACE_LINE = re.compile(r" *[^ \t]+( +[0-9]+){3} *")


def open_source(
    path: str | Path,
    image_root: str | None = None,
    *,
    list_format: str | None = None,
    delimiter: str | None = None,
) -> ImageSource:
    """The images and classes at `path`.

    A `.rec` file, or a folder that holds some, is a record set; a folder with `label.txt` is that
    list; any other folder has a folder per identity; any other file is a list.

    Args:
        path: the set.
        image_root: of a list: the folder that its paths begin in; the list's own if not given.
        list_format: of a list: "plsc" (path, delimiter, class) or "magface" (`path 0 class 0`);
            told from its first lines if not given.
        delimiter: of a list in PLSC's layout; told from its first lines if not given.

    Raises:
        UserError: there is nothing, or something else, or the source refuses it.

    """
    place, files = Path(path), list[Path]()
    if folder := is_folder(place):
        files = rec_files_in(place)
        if not files and os.path.isfile(place / LABEL_FILE):
            place, folder = place / LABEL_FILE, False
    elif place.suffix == ".rec":
        files = [place]
    of_list = {"image_root": image_root, "list_format": list_format, "delimiter": delimiter}
    given = [f"--{name}" for name, value in of_list.items() if value is not None]
    if given and (files or folder):
        raise UserError(f"{given[0]} belongs to a list, and {path} is none: leave it out")
    if files:
        return RecordImages(files)
    if folder:
        return FolderImages(str(place))
    return _listed(place, image_root, list_format, delimiter)


def _listed(
    path: Path, image_root: str | None, list_format: str | None, delimiter: str | None
) -> ListedImages:
    if list_format not in (None, *LAYOUTS):
        raise UserError(f"list_format must be {' or '.join(LAYOUTS)}, got {list_format!r}")
    layout: Literal["plsc", "magface"] = "magface" if list_format == "magface" else "plsc"
    if layout == "plsc" and delimiter is None:
        lines = _first_lines(path)
        if list_format is None and all(map(MAGFACE_LINE.fullmatch, lines)):
            layout = "magface"
        else:
            delimiter = _delimiter(lines)
    root = str(path.parent) if image_root is None else image_root
    return ListedImages(root, str(path), delimiter=delimiter or DELIMITERS[0], layout=layout)


def _first_lines(path: Path) -> list[str]:
    """Lines of a list that are not blank, without their ends."""
    if path.suffix == ".bin":
        raise UserError(
            f"{path}: holds pairs to verify, not images with classes: see plsc-data pairs and "
            "plsc-data unpack"
        )
    try:
        with open(open_regular(path, "list"), "rb") as file:
            read = iter(lambda: file.readline(LONGEST_LINE), b"")
            filled = (line.rstrip(b"\r\n") for line in read if line.strip())
            lines = list(itertools.islice(filled, FIRST_LINES))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if any(b"\0" in line or len(line) >= LONGEST_LINE - 2 for line in lines):
        raise UserError(
            f"{path}: neither a list of images nor a .rec file; a set is a .rec file, a list or a "
            "folder"
        )
    return [os.fsdecode(line) for line in lines]


def _delimiter(lines: list[str]) -> str:
    """What stands before the class in all of these lines; a tab if nothing does."""
    for delimiter in DELIMITERS:
        rows = [line.rpartition(delimiter) for line in lines]
        if all(path.strip() and label.strip().isdecimal() for path, _, label in rows):
            return delimiter
    return DELIMITERS[0]
