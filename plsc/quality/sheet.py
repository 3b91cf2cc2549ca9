"""Draw a contact sheet of faces, ordered from worst to best quality."""

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from plsc.data.lists.image_root import shown
from plsc.errors import UserError
from plsc.files.atomic import write_output
from plsc.files.mapped_file import regular

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]  # BGR

MOST = 60  # faces
COLUMNS = 10
CELL, GAP, MARGIN = 128, 10, 16  # pixels
BAR, LINE, HEAD = 6, 17, 56
GROUND, TRACK, PLAIN, FAINT = (30, 30, 30), (66, 66, 66), (240, 240, 240), (165, 165, 165)
# From bad to good, in colours of Okabe and Ito that colour-blind people can tell apart.
LOW, MIDDLE, HIGH = (0, 94, 213), (66, 228, 240), (178, 114, 0)
FONT = cv2.FONT_HERSHEY_SIMPLEX
LARGE, SMALL = 0.45, 0.38  # scales of the font
# A PNG begins with 8 bytes and the chunk IHDR of 25. A chunk is length, type, text and CRC-32.
HEADER_BYTES = 33
SOFTWARE = b"tEXtSoftware\0plsc-quality"
MARK = (len(SOFTWARE) - 4).to_bytes(4, "big") + SOFTWARE
MARK += zlib.crc32(SOFTWARE).to_bytes(4, "big")


@dataclass(frozen=True)
class Face:
    """One face of the sheet.

    Attributes:
        pixels: RGB uint8 [h, w, 3].
        magnitude: magnitude of its embedding.
        score: quality from 0 to 100; None without calibration.
        name: path or key of the image.

    """

    pixels: Pixels
    magnitude: float
    score: float | None
    name: str


def sampled(count: int, most: int = MOST) -> NDArray[np.intp]:
    """Return at most `most` evenly spaced indices below `count`, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def require_sheet(path: str | Path) -> None:
    """Refuse to replace a file that is not a contact sheet.

    Raises:
        UserError: `path` is another file, or cannot be read.

    """
    if not os.path.lexists(path):
        return
    try:
        with open(path, "rb", opener=regular) as file:
            begins = file.read(HEADER_BYTES + len(MARK))
    except OSError as error:
        raise UserError(f"{shown(str(path))}: cannot be read: {error.strerror}") from error
    if begins[HEADER_BYTES:] != MARK:
        raise UserError(
            f"{shown(str(path))}: exists and is not a sheet of plsc-quality: choose another "
            "--sheet, or pass --overwrite"
        )


def write_quality_sheet(path: str | Path, faces: Sequence[Face], *, title: str, note: str) -> None:
    """Write a PNG that shows all `faces` in their order, row by row.

    Below each face stand its magnitude (left), its score (right, and as a bar) and the end of its
    name.

    Args:
        path: path of the PNG; an existing file is replaced.
        faces: the faces, worst first.
        title: line at the top.
        note: smaller line below the title.

    Raises:
        UserError: the file cannot be written.

    """
    columns = min(COLUMNS, max(4, int(np.ceil((1.6 * len(faces)) ** 0.5))))
    rows = -(-len(faces) // columns)
    height = CELL + BAR + 2 * LINE + 4
    sheet = np.full(
        (
            2 * MARGIN + HEAD + rows * (height + GAP) - GAP,
            2 * MARGIN + columns * (CELL + GAP) - GAP,
            3,
        ),
        GROUND,
        np.uint8,
    )
    _text(sheet, title, (MARGIN, MARGIN + 16), LARGE * 1.2, PLAIN)
    _text(sheet, note, (MARGIN, MARGIN + 38), LARGE * 0.9, FAINT)
    for number, face in enumerate(faces):
        row, column = divmod(number, columns)
        top, left = MARGIN + HEAD + row * (height + GAP), MARGIN + column * (CELL + GAP)
        sheet[top : top + height, left : left + CELL] = _cell(face, height)
    done, encoded = cv2.imencode(".png", sheet)
    assert done
    png = encoded.tobytes()
    write_output(path, png[:HEADER_BYTES] + MARK + png[HEADER_BYTES:])


def _cell(face: Face, height: int) -> Pixels:
    cell = np.full((height, CELL, 3), GROUND, np.uint8)
    cell[:CELL] = _square(face.pixels[..., ::-1])
    if face.score is not None:
        cell[CELL : CELL + BAR] = TRACK
        cell[CELL : CELL + BAR, : max(2, round(face.score / 100 * CELL))] = colour_of(face.score)
    base = CELL + BAR + LINE - 3
    _text(cell, f"{face.magnitude:.2f}", (1, base), LARGE, PLAIN)
    score = "" if face.score is None else f"{face.score:.0f}"
    _text(cell, score, (CELL - 2 - _width(score, LARGE), base), LARGE, PLAIN)
    _text(cell, _end_of(face.name), (1, base + LINE - 2), SMALL, FAINT)
    return cell


def colour_of(score: float) -> Colour:
    """Return the colour of the bar of a score, from orange through yellow to blue."""
    first, second = (LOW, MIDDLE) if score < 50 else (MIDDLE, HIGH)
    part = score % 50 / 50 if score < 100 else 1.0
    blue, green, red = (round(a + (b - a) * part) for a, b in zip(first, second, strict=True))
    return blue, green, red


def _square(pixels: Pixels) -> Pixels:
    """Return the whole image in a square cell, with its aspect ratio."""
    height, width = pixels.shape[:2]
    scale = CELL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square = np.full((CELL, CELL, 3), GROUND, np.uint8)
    top, left = (CELL - size[1]) // 2, (CELL - size[0]) // 2
    resized = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=method)
    square[top : top + size[1], left : left + size[0]] = resized
    return square


def _end_of(name: str) -> str:
    """Return the end of a name that fits into a cell."""
    text = "".join(
        char if " " <= char <= "~" else "?" for char in name
    )  # the font has no other characters
    if _width(text, SMALL) <= CELL - 2:
        return text
    while _width("..." + text, SMALL) > CELL - 2:
        text = text[1:]
    return "..." + text


def _width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, FONT, scale, 1)[0][0])


def _text(image: Pixels, text: str, corner: tuple[int, int], scale: float, colour: Colour) -> None:
    cv2.putText(image, text, corner, FONT, scale, colour, 1, cv2.LINE_AA)
