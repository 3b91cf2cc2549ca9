"""Quality of images as a table of the user's own: CSV with a path and a number in each line."""

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
from plsc.data.making.paired_images import PairedImages
from plsc.errors import UserError

PATH_COLUMN = "path"


@dataclass(frozen=True)
class QualityTable:
    """Images' quality by what the table calls them; higher is better.

    Attributes:
        name: of the measure.
        file: where it was read.
        values: by the text of the table.
        by_place: by that text as an absolute path, seen from the working directory.

    """

    name: str
    file: str
    values: dict[str, float]
    by_place: dict[str, float]

    def of(self, pairs: PairedImages) -> NDArray[np.float64]:
        """Quality float64 [2P] of a set's images.

        An image is found by one of its `names`.

        Raises:
            UserError: rows are missing; names the first image without and says how many there are.

        """
        found: list[float] = []
        missing: list[tuple[str, ...]] = []
        for index in range(len(pairs)):
            value = self._value(names := pairs.names(index))
            if value is None:
                missing.append(names)
            else:
                found.append(value)
        if missing:
            first = " or ".join(shown(name) for name in missing[0])
            raise UserError(
                f"{self.file}: no row for {len(missing)} of {len(pairs)} images, the first is "
                f"{first}"
            )
        return np.array(found)

    def _value(self, names: Sequence[str]) -> float | None:
        for name in names:
            for table in (self.values, self.by_place):
                if name in table:
                    return table[name]
        return None


def read_quality_table(name: str, path: str | Path) -> QualityTable:
    """Read a CSV file, its fields between commas, semicolons or tabs.

    With a header the images are in the column `path`, else in the first; the number is in the
    column `name`, or in the only other one. Without a header a line is a path and a number.

    Raises:
        UserError: it cannot be read, a column cannot be told, a value is no finite number, or two
            lines say different things of one image; names file and line.

    """
    rows = _rows(path)
    number, first = next(rows, (0, []))
    if not first:
        raise UserError(f"{path}: is empty: each line is a path and a number")
    columns = 0, 1
    values: dict[str, float] = {}
    if len(first) == 2 and _number(first[1]) is not None:
        _put(values, first, columns, f"{path}:{number}")
    else:
        columns = _columns([field.strip() for field in first], name, path)
    for number, fields in rows:
        _put(values, fields, columns, f"{path}:{number}")
    by_place = {os.path.abspath(text): value for text, value in values.items()}
    return QualityTable(name, str(path), values, by_place)


def _rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of the lines that are not blank."""
    try:
        # Names of files need not be text in any encoding, and may hold line ends.
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
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
        raise UserError(f"{path}:{rows.line_num}: is no CSV: {error}") from error


def _columns(header: list[str], name: str, path: str | Path) -> tuple[int, int]:
    """Which column is the path, and which the number."""
    place = header.index(PATH_COLUMN) if PATH_COLUMN in header else 0
    others = [column for column in range(len(header)) if column != place]
    if name in header and header.index(name) != place:
        return place, header.index(name)
    if len(others) == 1:
        return place, others[0]
    raise UserError(
        f"{path}:1: no column {name!r} among {', '.join(map(repr, header))[:120]}: call the "
        "measure as its column, or leave two columns, path and number"
    )


def _put(
    values: dict[str, float], fields: Sequence[str], columns: tuple[int, int], where: str
) -> None:
    if len(fields) <= max(columns):
        raise UserError(f"{where}: must be a path and a number, got {','.join(fields)[:80]!r}")
    text, value = fields[columns[0]], _number(fields[columns[1]])
    if value is None or not math.isfinite(value):
        raise UserError(f"{where}: quality must be a finite number, got {fields[columns[1]]!r}")
    if values.setdefault(text, value) != value:
        raise UserError(
            f"{where}: {shown(text)} has quality {value:g} here and {values[text]:g} above"
        )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
