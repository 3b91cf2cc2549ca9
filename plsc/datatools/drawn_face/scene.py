"""Draw what surrounds the head: a background, and now and then a thing in front."""

import cv2
import numpy as np
from numpy.typing import NDArray

from plsc.datatools.drawn_face.canvas import Canvas
from plsc.datatools.drawn_face.head import Head


def paint_background(canvas: Canvas, rng: np.random.Generator) -> None:
    """Cover the canvas with a gradient and a few blurred shapes."""
    side = len(canvas.pixels)
    small = np.zeros((28, 28, 3), np.uint8)
    corners = _dull(rng, (2, 2)).astype(np.uint8)
    small[:] = cv2.resize(corners, (28, 28), interpolation=cv2.INTER_LINEAR_EXACT)
    for _ in range(int(rng.integers(0, 5))):
        colour = [int(value) for value in _dull(rng, ())]
        x, y, width, height = (int(value) for value in rng.integers(0, 28, 4))
        if rng.random() < 0.5:
            cv2.rectangle(small, (x, y), (x + width, y + height), colour, cv2.FILLED)
        else:
            cv2.circle(small, (x, y), 1 + width // 3, colour, cv2.FILLED)
    small = cv2.GaussianBlur(small, (0, 0), float(rng.uniform(0.5, 2.0)))
    canvas.pixels[:] = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR_EXACT)


def _dull(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return colours [*shape,3] that are mostly grey, as walls and streets are."""
    return rng.uniform(15, 215, (*shape, 1)) + rng.uniform(0, 40, (*shape, 3))


def cover(lit: NDArray[np.float32], head: Head, rng: np.random.Generator) -> None:
    """Put a thing in front of a part of the face, in place, if the view says so."""
    share, size = head.view.occlusion, head.size
    if share <= 0:
        return
    centre = head.place([(rng.uniform(-34, 34), rng.uniform(-30, 55))])[0]
    half = share * size / 2
    mask = np.zeros((size, size), np.uint8)
    angle = np.linspace(0, 2 * np.pi, 9)[:-1] + rng.uniform(0, 1)
    radius = half * rng.uniform(0.75, 1.35, 8)
    blob = np.column_stack([np.cos(angle), np.sin(angle)]) * radius[:, None] + centre
    cv2.fillPoly(mask, [np.rint(blob * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    colour = _dull(rng, ()).astype(np.float32) * np.float32(head.view.exposure)
    weight = mask[..., None].astype(np.float32) * np.float32(1 / 255)
    lit += (colour - lit) * weight
