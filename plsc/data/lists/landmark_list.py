"""Lists of faces: an image and its five landmarks per line, as data sets and detectors write them.

Columns stand between tabs, commas or blanks, whichever the first line has in this order. Without a
header they are the path and ten numbers, x before y; what follows is not read (IJB's
`name_5pts_score.txt` ends in a score). With a header the columns are found by their names, as in
`landmarks.csv` of rendered faces or CelebA's lists.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plsc.errors import UserError
from plsc.files.mapped_file import regular

NUM_VALUES = 10
PATH_NAMES = {
    "path", "file", "filename", "name", "nameid", "image", "imagepath", "imagename", "imageid",
    "img",
}  # fmt: skip
POINT_NAMES = (  # without what is neither letter nor digit
    ("lefteye", "righteye", "nose", "leftmouth", "rightmouth"),
    ("lefteye", "righteye", "nose", "mouthleft", "mouthright"),
)
VALUE_NAMES = [
    *([f"{point}{axis}" for point in names for axis in "xy"] for names in POINT_NAMES),
    [f"{axis}{point}" for point in range(1, 6) for axis in "xy"],  # x1 y1 x2 ...
    [f"p{point}{axis}" for point in range(1, 6) for axis in "xy"],  # P1X P1Y P2X ...
]


@dataclass(frozen=True)
class LandmarkList:
    """Faces in the order of their list.

    Attributes:
        file: the list.
        paths: the images' paths as they are written.
        points: float64 [n, 5, 2], in pixels.
        lines: line numbers, counted from 1.

    """

    file: Path
    paths: list[str]
    points: np.ndarray
    lines: list[int]

    def __len__(self) -> int:
        return len(self.paths)

    def where(self, row: int) -> str:
        """Return file and line of a face."""
        return f"{self.file}:{self.lines[row]}"


@dataclass(frozen=True)
class _Columns:
    path: int
    values: Sequence[int]


def read_landmarks(path: str | Path) -> LandmarkList:
    """Read a list.

    Raises:
        UserError: it is missing or empty, or a line is not a path and ten numbers; names file and
            line.

    """
    file, paths, lines = Path(path), [], []
    values: list[float] = []
    columns = None
    for number, fields in _rows(file):
        where = f"{file}:{number}"
        if columns is None:
            columns = _columns(fields, where)
            if not _is_face(fields):
                continue
        values += _numbers(fields, columns, where)
        paths.append(fields[columns.path])
        lines.append(number)
    if not paths:
        raise UserError(f"{file}: the landmark list has no faces")
    return LandmarkList(file, paths, np.array(values).reshape(-1, NUM_VALUES // 2, 2), lines)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and fields of each line that is not blank."""
    delimiter, begun = None, False
    try:
        with open(
            path, encoding="utf-8-sig", errors="surrogateescape", newline="\n", opener=regular
        ) as file:
            for number, line in enumerate(file, start=1):
                text = line.strip()
                if not text or (not begun and text.isdigit()):  # CelebA's lists begin with a count
                    continue
                if not begun:
                    delimiter = next((mark for mark in "\t," if mark in text), None)
                    begun = True
                fields = next(csv.reader([text])) if delimiter == "," else text.split(delimiter)
                yield number, [field.strip() for field in fields]
    except OSError as error:
        raise UserError(f"{path}: the landmark list cannot be read: {error.strerror}") from error
    except csv.Error as error:
        raise UserError(f"{path}:{number}: {error}") from error


def _columns(first: Sequence[str], where: str) -> _Columns:
    """Return where path and numbers stand, by the first line, which may be a face or a header."""
    if _is_face(first):
        return _Columns(0, range(1, NUM_VALUES + 1))
    names = [re.sub("[^a-z0-9]", "", name.lower()) for name in first]
    for wanted in VALUE_NAMES:
        if set(wanted) <= set(names):
            values = [names.index(name) for name in wanted]
            if 0 in values:  # the header does not name the path, which comes first
                return _Columns(0, [value + 1 for value in values])
            path = next((place for place, name in enumerate(names) if name in PATH_NAMES), 0)
            return _Columns(path, values)
    raise UserError(
        f"{where}: must be a path and ten numbers x1 y1 ... x5 y5, or a header with such names; "
        f"got {' '.join(first)[:100]!r}"
    )


def _is_face(fields: Sequence[str]) -> bool:
    return len(fields) > NUM_VALUES and all(map(_is_number, fields[1 : NUM_VALUES + 1]))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(fields: Sequence[str], columns: _Columns, where: str) -> list[float]:
    needed = max(columns.path, *columns.values) + 1
    if len(fields) < needed:
        raise UserError(f"{where}: must have {needed} columns or more, has {len(fields)}")
    try:
        return [float(fields[column]) for column in columns.values]
    except ValueError:
        wrong = next(column for column in columns.values if not _is_number(fields[column]))
        raise UserError(
            f"{where}: column {wrong + 1} must be a number, got {fields[wrong]!r} (paths with "
            "blanks need tabs or commas between the columns)"
        ) from None
