"""Read a line of PLSC's or MagFace's lists: an image and its class."""

import json
import re
from abc import ABC, abstractmethod

import numpy as np

from plsc.data.lists.list_columns import (
    first_column_is_label,
    image_form,
    is_header,
    refuse_other_encodings,
)
from plsc.data.lists.text_lines import MOST_DIGITS, NEWLINE, RETURN, SPACE, TAB, Lines
from plsc.errors import UserError

USUAL_DELIMITERS = ("\t", " ", ",", ";", "|", ":")
MAGFACE_FIELDS = 4  # path, 0, class, 0

Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def checked_delimiter(delimiter: str) -> str:
    """Return the delimiter.

    Raises:
        UserError: it is not one character that can separate columns.

    """
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in "\r\n":
        raise UserError(f"delimiter must be one ASCII character, got {delimiter!r}")
    return delimiter


def delimiter_hint(line: bytes, used: str) -> str:
    """Return which other delimiter the line seems to have, as the end of a message; or nothing."""
    delimiter = _likely_delimiter(line, unlike=used)
    if delimiter is None:
        return ""
    return f" (the line seems to use another: set delimiter: {json.dumps(delimiter)})"


def _likely_delimiter(line: bytes, *, unlike: str | None = None) -> str | None:
    for delimiter in USUAL_DELIMITERS:
        path, _, label = line.rpartition(delimiter.encode())
        if delimiter != unlike and path.strip() and _is_class(label.strip()):
            return delimiter
    return None


def _is_class(field: bytes) -> bool:
    return field.isdigit() and len(field) <= MOST_DIGITS


class Layout(ABC):
    """One way to write a path and a class in a line.

    Attributes:
        delimiter: where `Lines` are to be split.

    """

    delimiter: str

    @abstractmethod
    def columns(self, lines: Lines) -> Columns:
        """Return begins and ends of paths in the block, classes, int64 [n]; valid ones, bool [n].

        Rows that are not valid are for `parse`, which may find them good.
        """

    @abstractmethod
    def parse(self, line: bytes) -> tuple[int, int, int]:
        """Return where the path begins and ends in the line, and the class.

        Raises:
            UserError: the line is not of this layout; says why, and which it seems to be of.

        """

    def check_first(self, line: bytes) -> None:
        """Look at the first line for another layout that could be misread as this one.

        Raises:
            UserError: it seems to be of another.

        """
        refuse_other_encodings([line])

    def is_header(self, line: bytes) -> bool:
        """Tell whether the list's first line names the columns."""
        return False


class PlscLayout(Layout):
    """`path<delimiter>class`; the path may hold the delimiter."""

    def __init__(self, delimiter: str):
        self.delimiter = checked_delimiter(delimiter)

    def columns(self, lines: Lines) -> Columns:
        """Return where paths are, classes, and which rows are valid."""
        begins = lines.splits + 1
        begins += lines.text.take(begins, mode="clip") == SPACE  # as in "a.jpg, 5"
        labels, sound = lines.numbers(begins, lines.ends)
        return lines.begins, lines.splits, labels, sound

    def parse(self, line: bytes) -> tuple[int, int, int]:
        """Return where the path is, and the class."""
        path, found, text = line.rpartition(self.delimiter.encode())
        label = text.strip()
        if path and _is_class(label):
            return 0, len(path), int(label)
        if not found:
            reason = f"no delimiter {self.delimiter!r}"
        elif not path:
            reason = "no path"
        else:
            reason = f"label {label.decode(errors='replace')!r} is not a whole number from 0 on"
        fields = line.split()
        if len(fields) == MAGFACE_FIELDS and all(map(_is_class, fields[1:])):
            hint = f" ({MAGFACE_HINT})"
        else:
            hint = delimiter_hint(line, self.delimiter)
        raise UserError(f"{reason}; a line is a path, {self.delimiter!r} and a class{hint}")

    def check_first(self, line: bytes) -> None:
        """Look for a MagFace list, whose last column would pass for a class."""
        super().check_first(line)
        fields = line.split()
        if len(fields) == MAGFACE_FIELDS and fields[1] == fields[3] == b"0" and fields[2].isdigit():
            raise UserError(f"`path 0 class 0`: {MAGFACE_HINT}")
        if len(fields) == MAGFACE_FIELDS and fields[1] == fields[3] == b"0" and b"." in fields[0]:
            label = fields[2].decode(errors="replace")
            raise UserError(f"class {label!r} is not a whole number in `path 0 class 0`")
        if form := image_form([line]):
            raise UserError(f"looks like a list of {form}: set list_format: {form}")
        if first_column_is_label(line):
            raise UserError(
                f"the class comes first: a line is a path, {self.delimiter!r} and a class"
            )

    def is_header(self, line: bytes) -> bool:
        """Tell a line like `path,label` from an image and its class."""
        return is_header(line, self.delimiter)


MAGFACE_HINT = "looks like a MagFace list: set list_format: magface"


class MagFaceLayout(Layout):
    """`path 0 class 0`, four fields with blanks between them; the path holds none."""

    delimiter = " "

    def columns(self, lines: Lines) -> Columns:
        """Return where paths are, classes, and which rows are valid."""
        text = lines.text
        blank = (text == SPACE) | (text == TAB) | (text == NEWLINE) | (text == RETURN)
        edges = np.flatnonzero(blank[1:] != blank[:-1]) + 1
        if not blank[0]:
            edges = np.append(0, edges)
        if not blank[-1]:
            edges = np.append(edges, len(text))
        begins, ends = edges[0::2], edges[1::2]  # of all fields
        rows = len(lines.begins)
        first = np.arange(rows) * MAGFACE_FIELDS
        sound = np.ones(rows, bool)
        if len(begins) != MAGFACE_FIELDS * rows or not (
            (begins[first] >= lines.begins).all() and (ends[first + 3] <= lines.ends).all()
        ):
            first = np.searchsorted(begins, lines.begins)
            sound = np.searchsorted(begins, lines.ends) - first == MAGFACE_FIELDS
            first = np.where(sound, first, 0)
            if not sound.any():
                nothing = np.zeros(rows, np.int64)
                return nothing, nothing.copy(), nothing.copy(), sound
        labels, whole = lines.numbers(begins[first + 2], ends[first + 2])
        return begins[first], ends[first], labels, sound & whole

    def parse(self, line: bytes) -> tuple[int, int, int]:
        """Return where the path is, and the class."""
        fields = list(re.finditer(rb"[^ \t\r]+", line))
        if len(fields) == MAGFACE_FIELDS and _is_class(fields[2][0]):
            return fields[0].start(), fields[0].end(), int(fields[2][0])
        reason = f"{len(fields)} fields"
        if len(fields) == MAGFACE_FIELDS:
            reason = f"class {fields[2][0].decode(errors='replace')!r} is not a whole number"
        hint, delimiter = "", _likely_delimiter(line)
        if delimiter is not None:
            setting = "" if delimiter == "\t" else f" and delimiter: {json.dumps(delimiter)}"
            hint = f" (looks like a PLSC list: set list_format: plsc{setting})"
        raise UserError(
            f"{reason}; a MagFace line is `path 0 class 0`, with no blank in the path{hint}"
        )


class MxnetLayout(Layout):
    """Columns between tabs, as MXNet's tools write them: the class need not come last.

    face2rec2: `1<TAB>path<TAB>class`, more columns do not count; im2rec:
    `number<TAB>class<TAB>path`.
    """

    delimiter = "\t"

    def __init__(self, form: str):
        self.form = form
        self._label, self._path = (2, 1) if form == "face2rec2" else (1, -1)

    def columns(self, lines: Lines) -> Columns:
        """Leave each line to `parse`."""
        rows = len(lines.begins)
        nothing = np.zeros(rows, np.int64)
        return nothing, nothing.copy(), nothing.copy(), np.zeros(rows, bool)

    def parse(self, line: bytes) -> tuple[int, int, int]:
        """Return where the path is, and the class."""
        fields = line.split(b"\t")
        if image_form([line]) != self.form:
            lines = {"face2rec2": "1, path and class", "im2rec": "number, class and path"}
            raise UserError(
                f"{len(fields)} columns; a line of {self.form} is {lines[self.form]} between tabs"
            )
        path, label = fields[self._path], int(fields[self._label].partition(b".")[0])
        begin = len(line) - len(path) if self._path < 0 else len(fields[0]) + 1
        return begin, begin + len(path), label
