"""The official ground truth of WIDER FACE's validation set: faces, and which of them count."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError, first_line

SETS = ("easy", "medium", "hard")
FACES = "wider_face_val.mat"


@dataclass(frozen=True, eq=False)
class MarkedImage:
    """An image's faces.

    Attributes:
        event: the folder that it is in.
        name: of its file, without ending.
        boxes: float64 [n, 4], x, y, width and height.
        counted: by set, bool [n]: whether a face counts in it; the others are ignored.

    """

    event: str
    name: str
    boxes: NDArray[np.float64]
    counted: dict[str, NDArray[np.bool_]]


def read_ground_truth(folder: str | Path) -> list[MarkedImage]:
    """Return the images of `wider_face_val.mat`, with what the files of the three sets count.

    Raises:
        UserError: a file is missing or damaged, or they do not belong together.

    """
    if importlib.util.find_spec("scipy") is None:
        raise UserError(f"{folder} needs scipy: pip install scipy")
    place = Path(folder)
    faces = _read(place / FACES, "face_bbx_list")
    sets = {name: _read(place / f"wider_{name}_val.mat", "gt_list") for name in SETS}
    images = []
    for number, (event, name, boxes) in enumerate(faces):
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        counted = {}
        for key, rows in sets.items():
            path = place / f"wider_{key}_val.mat"
            if len(rows) != len(faces) or rows[number][:2] != (event, name):
                raise UserError(f"{path}: has other images than {place / FACES}")
            numbers = np.asarray(rows[number][2]).ravel().astype(np.int64)  # from 1
            if numbers.size and not (numbers.min() >= 1 and numbers.max() <= len(boxes)):
                raise UserError(f"{path}: {event}/{name}: counts faces that are not marked")
            counted[key] = np.zeros(len(boxes), bool)
            counted[key][numbers - 1] = True
        images.append(MarkedImage(event, name, boxes, counted))
    return images


def _read(path: Path, values: str) -> list[tuple[str, str, Any]]:
    """Return event, name and value of each image of a file."""
    from scipy.io import loadmat

    if not path.is_file():
        raise UserError(
            f"{path}: no such file: the ground truth is {FACES} and wider_{{easy,medium,hard}}"
            "_val.mat, from WIDER FACE's evaluation tools"
        )
    try:
        names = ("event_list", "file_list", values)
        content = loadmat(str(path), variable_names=names)
        return list(_images(*(content[name].ravel() for name in names)))
    except Exception as error:  # scipy has many for damaged files, without a common base
        raise UserError(f"{path}: damaged, or no such list: {first_line(error)}") from error


def _images(
    events: NDArray[Any], files: NDArray[Any], values: NDArray[Any]
) -> Iterator[tuple[str, str, Any]]:
    for event, names, of_event in zip(events, files, values, strict=True):
        for name, value in zip(names.ravel(), of_event.ravel(), strict=True):
            yield _word(event), _word(name), value


def _word(cell: Any) -> str:
    while isinstance(cell, np.ndarray):
        cell = cell.ravel()[0]
    return str(cell)
