"""Tell the form of a list of images or pairs by the columns of its first lines."""

import os
import re
from collections.abc import Callable, Sequence
from typing import Literal

from plsc.errors import UserError

DELIMITERS = ("\t", ",", ";", "|", ":", " ")  # a path may hold those that come later
PAIR_DELIMITERS = (b"\t", b",", b";", b"|", None)  # None: any blanks
IMAGE_NAME = re.compile(rb".*\.[A-Za-z][A-Za-z0-9]{1,4}\"?", re.DOTALL)
LABEL_NAMES = {
    *("label", "labels", "class", "class_id", "classid", "id", "identity", "identity_id"),
    *("person", "person_id", "subject", "subject_id", "target", "category", "name"),
}
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
PairForm = Literal["columns", "label first", "lfw"]


def refuse_other_encodings(lines: Sequence[bytes]) -> None:
    """Refuse text in two bytes a character, with or without a byte order mark.

    Raises:
        UserError: the first line shows such text; names what to do.

    """
    for number, line in enumerate(lines, 1):
        marked = number == 1 and line.startswith(UTF16_MARKS)
        if marked or _every_second_is_zero(line):
            raise UserError("the file is UTF-16 text: save it as UTF-8")


def _every_second_is_zero(line: bytes) -> bool:
    """Tell whether a line is Latin text in two bytes a character; other bytes are no text at all.

    A file that is split at newlines may leave a zero of the line before at the beginning.
    """
    text = line.strip(b"\0\r\n")
    return len(text) > 2 and not any(text[1::2]) and all(text[::2])


def is_header(line: bytes, delimiter: str) -> bool:
    """Tell whether a line names the columns of a table, as in `path,label`."""
    path, found, label = line.strip().rpartition(delimiter.encode())
    name = label.strip(b' "').decode(errors="replace").lower()
    return bool(found and path) and name in LABEL_NAMES and not _is_image(path)


def first_column_is_label(line: bytes) -> bool:
    """Tell a line `class<delimiter>path` from others."""
    fields = min(
        (line.split(mark) for mark in PAIR_DELIMITERS), key=lambda found: abs(len(found) - 2)
    )
    return len(fields) == 2 and fields[0].strip().isdigit() and _is_image(fields[1].strip())


def pair_form(lines: Sequence[bytes]) -> tuple[PairForm, str] | None:
    """Return which list of pairs has such lines, and what separates its columns; None of others.

    Lists in CPLFW's form have two lines a pair: see `paired_lines`.
    """
    if not lines:
        return None
    for mark in PAIR_DELIMITERS:
        rows = [[field.strip() for field in line.split(mark)] for line in lines]
        delimiter = " " if mark is None else mark.decode()
        if _all(rows, lambda row: _is_flag(row[2]) and _is_image(row[0]) and _is_image(row[1])):
            return "columns", delimiter
        if _all(rows, lambda row: _is_flag(row[0]) and _is_image(row[1]) and _is_image(row[2])):
            return "label first", delimiter
    rows = [line.split(b"\t" if b"\t" in line else None) for line in lines]
    names = [[*row[0:1], *row[2:-1]] for row in rows]
    numbers = [[*row[1:2], *row[-1:]] for row in rows]
    if all(
        len(row) in (3, 4)
        and all(_is_name(name.strip()) for name in who)
        and all(number.strip().isdigit() for number in which)
        for row, who, which in zip(rows, names, numbers, strict=True)
    ):
        return "lfw", ""
    return None


def image_form(lines: Sequence[bytes]) -> Literal["face2rec2", "im2rec"] | None:
    """Return which of MXNet's lists has such lines: columns between tabs, the path not first."""
    rows = [line.split(b"\t") for line in lines]
    if not rows or any(len(row) < 3 for row in rows):
        return None
    if all(_is_flag(row[0]) and _is_image(row[1]) and _is_number(row[2]) for row in rows):
        return "face2rec2"
    if all(row[0].isdigit() and _is_number(row[1]) and _is_image(row[-1]) for row in rows):
        return "im2rec"
    return None


def _all(rows: Sequence[Sequence[bytes]], fits: Callable[[Sequence[bytes]], bool]) -> bool:
    return all(len(row) == 3 and fits(row) for row in rows)


def _is_flag(field: bytes) -> bool:
    return field in (b"0", b"1")


def _is_number(field: bytes) -> bool:
    return re.fullmatch(rb"[0-9]{1,18}(\.0*)?", field.strip()) is not None


def _is_image(field: bytes) -> bool:
    return IMAGE_NAME.fullmatch(field.strip()) is not None


def _is_name(field: bytes) -> bool:
    return bool(field) and not _is_image(field) and not field.isdigit() and b"/" not in field


def person_of(path: str) -> str:
    """Return whom a file is of by its name: `a/Name_Surname` of `a/Name_Surname_0001.jpg`."""
    stem = os.path.splitext(path.replace("\\", "/"))[0]
    return re.sub(r"[_-]?[0-9]+$", "", stem)
