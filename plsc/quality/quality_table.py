"""Read a user's own table of image quality: a CSV with a path and a number in each line."""

import csv
import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plsc.data.lists.image_root import shown
from plsc.data.sets.pairs import PairSet
from plsc.errors import UserError
from plsc.files.mapped_file import regular

PATH_COLUMN = "path"

Quality = float | None


@dataclass(frozen=True)
class QualityTable:
    """The quality of images under the names that the table gives them; higher is better.

    Attributes:
        name: name of the measure.
        file: path of the table.
        values: quality by the path in the table; None where the number is empty.
        by_absolute_path: the same by that path made absolute from the working directory.

    """

    name: str
    file: str
    values: dict[str, Quality]
    by_absolute_path: dict[str, Quality]

    def of(self, pairs: PairSet) -> NDArray[np.float64]:
        """Return the quality of a set's images, float64 [2P], looked up by each image's `names`.

        Raises:
            UserError: rows or numbers are missing; the message names the first such image and
                counts them.

        """
        qualities: list[float] = []
        without_row, without_number = list[str](), list[str]()
        for index in range(len(pairs)):
            names = pairs.names(index)
            rows = [table[name] for name in names for table in self._tables if name in table]
            if not rows:
                without_row.append(" or ".join(map(shown, names)))
            elif rows[0] is None:
                without_number.append(shown(names[0]))
            else:
                qualities.append(rows[0])
        for lacking, what, remedy in (
            (without_row, "row", "name images as plsc-quality does for this set"),
            (
                without_number,
                "number",
                "leave out its pairs, or replace the image and measure again",
            ),
        ):
            if lacking:
                raise UserError(
                    f"{self.file}: no {what} for {len(lacking)} of {len(pairs)} images, the first "
                    f"is {lacking[0]}: {remedy}"
                )
        return np.array(qualities)

    @property
    def _tables(self) -> tuple[dict[str, Quality], ...]:
        return self.values, self.by_absolute_path


def read_quality_table(name: str, path: str | Path) -> QualityTable:
    """Read a CSV file whose fields are separated by commas, semicolons or tabs.

    With a header, the paths are in the column `path`, or else in the first column. The numbers are
    in the column `name`, or in the only other column. Without a header, each line is a path and a
    number. The number is empty for an image that could not be measured.

    Raises:
        UserError: the file cannot be read, the columns are ambiguous, a value is neither empty nor
            a finite number, or two lines disagree about an image; the message names file and line.

    """
    rows = _rows(path)
    number, first = next(rows, (0, []))
    if not first:
        raise UserError(f"{path}: is empty: each line is a path and a number")
    columns = 0, 1
    values: dict[str, Quality] = {}
    if len(first) == 2 and _is_number(first[1]):
        _put(values, first, columns, f"{path}:{number}")
    else:
        columns = _columns([field.strip() for field in first], name, path)
    for number, fields in rows:
        _put(values, fields, columns, f"{path}:{number}")
    by_absolute_path = {os.path.abspath(text): value for text, value in values.items()}
    return QualityTable(name, str(path), values, by_absolute_path)


def _rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and fields of each line that is not blank."""
    try:
        # File names need not be valid text in any encoding, and may contain line ends.
        with open(
            path, encoding="utf-8-sig", errors="surrogateescape", newline="", opener=regular
        ) as file:
            text = io.StringIO(file.read(), newline="")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    header = text.readline()
    text.seek(0)
    delimiter = next((mark for mark in "\t;" if mark in header), ",")
    rows = csv.reader(text, delimiter=delimiter)
    try:
        for fields in rows:
            if fields:
                yield rows.line_num, fields
    except csv.Error as error:
        raise UserError(f"{path}:{rows.line_num}: is not CSV: {error}") from error


def _columns(header: list[str], name: str, path: str | Path) -> tuple[int, int]:
    """Return the indices of the columns of the path and the number."""
    path_column = header.index(PATH_COLUMN) if PATH_COLUMN in header else 0
    others = [column for column in range(len(header)) if column != path_column]
    if name in header and header.index(name) != path_column:
        return path_column, header.index(name)
    if len(others) == 1:
        return path_column, others[0]
    raise UserError(
        f"{path}:1: no column {name!r} among {', '.join(map(repr, header))[:120]}: give "
        "the measure the name of its column, or keep two columns only, path and number"
    )


def _put(
    values: dict[str, Quality], fields: Sequence[str], columns: tuple[int, int], where: str
) -> None:
    if len(fields) <= max(columns):
        raise UserError(f"{where}: must be a path and a number, got {','.join(fields)[:80]!r}")
    text, number = (fields[column] for column in columns)
    if not _is_number(number) or not math.isfinite(float(number or 0)):
        raise UserError(f"{where}: quality must be a finite number, got {number!r}")
    value = float(number) if number else None
    if (before := values.setdefault(text, value)) != value:
        here, above = ("none" if item is None else f"{item:g}" for item in (value, before))
        raise UserError(f"{where}: {shown(text)} has quality {here} here and {above} above")


def _is_number(text: str) -> bool:
    """Return true if a field is a number, or empty."""
    try:
        float(text or 0)
    except ValueError:
        return False
    return True
