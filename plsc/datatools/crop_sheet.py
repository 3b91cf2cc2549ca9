"""A picture of aligned faces that shows whether their landmarks are where they belong."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from plsc.data.transforms.align import aligned_points, template
from plsc.files.atomic import write_output

CELL = 168  # pixels
GAP = 4
GREEN, RED = (0, 220, 0), (40, 40, 255)  # BGR
FRACTION_BITS = 4  # of the coordinates that OpenCV draws at


def write_sheet(path: str | Path, faces: Sequence[tuple[Path, np.ndarray]], *, size: int) -> None:
    """Write a PNG with all `faces`, about as many beside as above each other.

    Green rings mark the template's points; red dots are each face's own landmarks.

    Args:
        path: the PNG; replaced if it is there.
        faces: crops, and landmarks float [5, 2] in the image that each was cut from.
        size: side of the crops.

    Raises:
        UserError: the picture cannot be written.

    """
    columns = int(np.ceil(len(faces) ** 0.5))
    rows = -(-len(faces) // columns)
    step = CELL + GAP
    sheet = np.full((rows * step + GAP, columns * step + GAP, 3), 32, np.uint8)
    for number, (crop, points) in enumerate(faces):
        top, left = (GAP + place * step for place in divmod(number, columns))
        sheet[top : top + CELL, left : left + CELL] = _cell(
            crop, aligned_points(points, size=size), size
        )
    done, encoded = cv2.imencode(".png", sheet)
    assert done
    write_output(path, encoded.tobytes())


def _cell(crop: Path, points: np.ndarray, size: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(crop.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    cell = np.asarray(cv2.resize(image, (CELL, CELL), interpolation=cv2.INTER_LINEAR))
    for place in template(size):
        _circle(cell, place, size, radius=5, colour=GREEN, thickness=1)
    for place in points:
        _circle(cell, place, size, radius=2, colour=RED, thickness=cv2.FILLED)
    return cell


def _circle(
    cell: np.ndarray,
    place: np.ndarray,
    size: int,
    *,
    radius: int,
    colour: tuple[int, int, int],
    thickness: int,
) -> None:
    """Draw at a place in the crop; one far outside is left out."""
    x, y = (place + 0.5) * (CELL / size) - 0.5  # pixels are counted by their centres
    if not (-CELL < x < 2 * CELL and -CELL < y < 2 * CELL):
        return
    centre = (round(x * 2**FRACTION_BITS), round(y * 2**FRACTION_BITS))
    cv2.circle(cell, centre, radius << FRACTION_BITS, colour, thickness, cv2.LINE_AA, FRACTION_BITS)
