"""Lists of faces in photographs, in the layouts that WIDER FACE and its users have.

label.txt of RetinaFace   `# path`, then a line for each face: x y width height, and then, in most
                          files, x, y and a flag of five landmarks and more
wider_face_split, text    path, number of faces, then a line for each: x y width height and more
wider_face_split, .mat    the same for MATLAB
"""

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plsc.data.lists.image_root import check_below, shown
from plsc.errors import UserError, first_line
from plsc.files.mapped_file import regular

SIDES, LANDMARKS = 4, 5
HEAD_BYTES = 8192
LANDMARK_COLUMNS = [4, 5, 7, 8, 10, 11, 13, 14, 16, 17]  # x and y; a flag stands behind each pair
WITH_LANDMARKS = LANDMARK_COLUMNS[-1] + 1
UNKNOWN = np.full(2 * LANDMARKS, np.nan, np.float32)
MAT_FIELDS = ("event_list", "file_list", "face_bbx_list")


@dataclass(frozen=True, eq=False)
class FaceList:
    """Images and the faces marked in them, in pixels, as a list has them.

    Attributes:
        path: the list.
        names: of the images, relative to their root.
        lines: int64 [n], the line that names each, from 1; 0 where the list has no lines.
        starts: int64 [n + 1], where each image's faces begin.
        sizes: float32 [f, 4], x and y of the left upper corner, width and height.
        points: float32 [f, 5, 2], landmarks; nan for a face without.

    """

    path: str
    names: list[str]
    lines: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.float32]
    points: NDArray[np.float32]

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.names)

    def faces(self, index: int) -> slice:
        """Return the place of an image's faces."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def boxes(self, index: int) -> NDArray[np.float32]:
        """Return left, top, right and bottom edge [n, 4] of an image's faces."""
        sizes = self.sizes[self.faces(index)]
        return np.concatenate([sizes[:, :2], sizes[:, :2] + sizes[:, 2:]], axis=1)

    def where(self, index: int) -> str:
        """Return the list and the line of an image."""
        return f"{self.path}:{self.lines[index]}" if self.lines[index] else self.path

    def to_train_on(self) -> "FaceList":
        """Return the list without faces that have no size, and without images that have no face."""
        sized = (self.sizes[:, 2:] > 0).all(axis=1)
        counts = np.add.reduceat(np.append(sized, False), self.starts[:-1]).astype(np.int64)
        counts[np.diff(self.starts) == 0] = 0  # reduceat takes the next one's there
        kept = np.flatnonzero(counts)
        return FaceList(
            self.path,
            [self.names[index] for index in kept],
            self.lines[kept],
            np.concatenate([[0], np.cumsum(counts[kept])]),
            self.sizes[sized],
            self.points[sized],
        )


class _Builder:
    """Faces as they are read."""

    def __init__(self, path: str):
        self.path = path
        self.names: list[str] = []
        self.lines: list[int] = []
        self.counts: list[int] = []
        self.sizes: list[NDArray[np.float32]] = []
        self.points: list[NDArray[np.float32]] = []

    def image(self, name: str, line: int) -> None:
        check_below("images", name, f"{self.path}:{line}" if line else self.path)
        self.names.append(name)
        self.lines.append(line)
        self.counts.append(0)

    def face(self, row: NDArray[np.float32]) -> None:
        self.sizes.append(row[:SIDES])
        known = len(row) >= WITH_LANDMARKS and row[LANDMARK_COLUMNS[0]] >= 0
        self.points.append(row[LANDMARK_COLUMNS] if known else UNKNOWN)
        self.counts[-1] += 1

    def finish(self) -> FaceList:
        if not self.names:
            raise UserError(f"{self.path}: lists no images")
        return FaceList(
            self.path,
            self.names,
            np.array(self.lines, np.int64),
            np.concatenate([[0], np.cumsum(self.counts)]),
            np.array(self.sizes, np.float32).reshape(-1, SIDES),
            np.array(self.points, np.float32).reshape(-1, LANDMARKS, 2),
        )


def read_face_list(path: str | Path) -> FaceList:
    """Return what a list says, whichever of the three layouts it has.

    Raises:
        UserError: it is missing or damaged; the message names the line and what is wrong.

    """
    if Path(path).suffix == ".mat":
        return _read_mat(str(path))
    lines = _lines(path)
    first = next((text for _, text in lines if text), "")
    read = _read_label_txt if first.startswith("#") else _read_split
    return read(str(path), lines)


def is_face_list(path: str | Path) -> bool:
    """Tell whether a file is one of the three by its name or its first two lines."""
    if Path(path).suffix == ".mat":
        return True
    try:
        with open(path, "rb", opener=regular) as file:
            first, second, *_ = [*file.read(HEAD_BYTES).splitlines()[:2], b"", b""]
    except OSError:
        return False
    named = os.path.splitext(os.fsdecode(first))[1].lower() in (".jpg", ".jpeg", ".png")
    return first.startswith(b"# ") or (named and second.strip().isdigit())


def _lines(path: str | Path) -> list[tuple[int, str]]:
    try:
        with open(path, encoding="utf-8-sig", opener=regular) as file:
            text = file.read()
    except OSError as error:
        raise UserError(f"{shown(str(path))}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # no UTF-8, or a path that holds a zero byte
        raise UserError(f"{shown(str(path))}: is no text: {first_line(error)}") from error
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]


def _read_label_txt(path: str, lines: list[tuple[int, str]]) -> FaceList:
    found = _Builder(path)
    for number, line in lines:
        if line.startswith("#"):
            name = line[1:].strip()
            if not name:
                raise UserError(f"{path}:{number}: names no image behind '#'")
            found.image(name, number)
        elif line:
            row = _numbers(path, number, line)
            if len(row) != SIDES and len(row) < WITH_LANDMARKS:
                raise UserError(
                    f"{path}:{number}: {len(row)} numbers: a face has x, y, width and height, "
                    "alone or with x, y and a flag of each of five landmarks behind them"
                )
            found.face(row)
    return found.finish()


def _read_split(path: str, lines: list[tuple[int, str]]) -> FaceList:
    """Read the official text: an image without faces has the number 0 and one line of zeros."""
    found, ahead = _Builder(path), iter([item for item in lines if item[1]])
    for number, name in ahead:
        found.image(name, number)
        count = _count(path, ahead, number)
        for _ in range(max(count, 1)):
            line = next(ahead, None)
            if line is None:
                raise UserError(f"{path}: ends before the {count} faces of line {number} are named")
            row = _numbers(path, *line)
            if len(row) < SIDES:
                raise UserError(
                    f"{path}:{line[0]}: {len(row)} numbers: a face has x, y, width and height"
                )
            if count:
                found.face(row[:SIDES])
    return found.finish()


def _count(path: str, ahead: Iterator[tuple[int, str]], name_line: int) -> int:
    number, text = next(ahead, (name_line, ""))
    if not text.isdecimal():
        raise UserError(
            f"{path}:{number}: {text[:40]!r} where the number of faces of the image in line "
            f"{name_line} should be: neither WIDER FACE's list nor label.txt ('# path' lines)"
        )
    return int(text)


def _numbers(path: str, number: int, line: str) -> NDArray[np.float32]:
    try:
        row = np.array(line.split(), np.float32)
    except ValueError:
        raise UserError(f"{path}:{number}: not numbers: {line[:60]!r}") from None
    if not np.isfinite(row).all():
        raise UserError(f"{path}:{number}: numbers that are not finite: {line[:60]!r}")
    return row


def _read_mat(path: str) -> FaceList:
    if importlib.util.find_spec("scipy") is None:
        raise UserError(f"{path} needs scipy: pip install scipy")
    from scipy.io import loadmat

    found = _Builder(path)
    try:
        content: dict[str, Any] = loadmat(path, variable_names=MAT_FIELDS)
        events, files, boxes = (content[name].ravel() for name in MAT_FIELDS)
        for event, names, of_event in zip(events, files, boxes, strict=True):
            for name, rows in zip(names.ravel(), of_event.ravel(), strict=True):
                found.image(f"{_word(event)}/{_word(name)}.jpg", 0)
                for row in np.asarray(rows, np.float32).reshape(-1, SIDES):
                    found.face(row)
    except UserError:
        raise
    except Exception as error:  # scipy has many for damaged files, without a common base
        raise UserError(
            f"{shown(path)}: is not WIDER FACE's list for MATLAB, or damaged: {first_line(error)}"
        ) from error
    return found.finish()


def _word(cell: Any) -> str:
    """Return the text in a cell of MATLAB's."""
    while isinstance(cell, np.ndarray):
        cell = cell.ravel()[0]
    return str(cell)
