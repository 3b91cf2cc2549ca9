"""Tell the layout of a list from its first lines, and open it."""

import os
import re
from pathlib import Path
from typing import get_args

from plsc.data.lists.label_list import ListFormat
from plsc.data.lists.list_columns import (
    DELIMITERS,
    image_form,
    is_header,
    pair_form,
)
from plsc.data.sets.listed import ListedImages
from plsc.data.sets.pair_lists import LONGEST_LINE, first_lines
from plsc.errors import UserError

LAYOUTS = get_args(ListFormat)
MAGFACE_LINE = re.compile(r" *[^ \t]+( +[0-9]+){3} *")


def open_list(
    path: Path, image_root: str | None, list_format: str | None, delimiter: str | None
) -> ListedImages:
    """Return the images and classes of a list; see `plsc.data.sets.open.open_source`."""
    if list_format not in (None, *LAYOUTS):
        raise UserError(f"list_format must be one of {', '.join(LAYOUTS)}, got {list_format!r}")
    layout: ListFormat = list_format or "plsc"  # type: ignore[assignment]
    if layout == "plsc" and delimiter is None:
        lines = _first_lines(path)
        if list_format is None and all(map(MAGFACE_LINE.fullmatch, lines)):
            layout = "magface"
        elif list_format is None and (form := image_form([os.fsencode(line) for line in lines])):
            layout = form
        else:
            delimiter = _delimiter(lines)
    root = str(path.parent) if image_root is None else image_root
    delimiter = "\t" if delimiter == "\\t" else delimiter  # shells leave \t as it is
    return ListedImages(root, str(path), delimiter=delimiter or DELIMITERS[0], layout=layout)


def told_delimiter(path: str | Path) -> str:
    """Return what separates image and class in all first lines of a list; a tab if nothing does.

    Raises:
        UserError: the list cannot be read.

    """
    return _delimiter([os.fsdecode(line) for line in first_lines(path)])


def told_pair_delimiter(path: str | Path) -> str:
    """Return what separates the columns of a list of pairs; a tab where that does not show.

    Raises:
        UserError: the list cannot be read.

    """
    form = pair_form(first_lines(path))
    return form[1] if form is not None and form[0] == "columns" else DELIMITERS[0]


def _first_lines(path: Path) -> list[str]:
    """Return the lines of a list that are not blank, without their ends."""
    if path.suffix == ".bin":
        raise UserError(
            f"{path}: holds pairs to verify, not images with classes: see plsc-data pairs and "
            "plsc-data unpack"
        )
    lines = first_lines(path)
    if any(b"\0" in line or len(line) >= LONGEST_LINE - 2 for line in lines):
        raise UserError(
            f"{path}: neither a list of images nor a .rec file; a set is a .rec file, a list or a "
            "folder"
        )
    return [os.fsdecode(line) for line in lines]


def _delimiter(lines: list[str]) -> str:
    """Return what stands before the class in all of these lines; a tab if nothing does."""
    for delimiter in DELIMITERS:
        if len(lines) > 1 and is_header(os.fsencode(lines[0]), delimiter):
            lines = lines[1:]
        rows = [line.rpartition(delimiter) for line in lines]
        if all(path.strip() and label.strip().isdecimal() for path, _, label in rows):
            return delimiter
    return DELIMITERS[0]
