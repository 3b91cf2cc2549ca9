"""A canvas for antialiased shapes: drawn at twice the size, then averaged."""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from plsc.datatools.drawn_face.head import Points
from plsc.datatools.drawn_face.parameters import Colour

SHIFT = 4  # fractional bits of coordinates
OVERSAMPLING = 2

Image = NDArray[np.uint8]


def fixed(points: Points) -> NDArray[np.int32]:
    """Turn pixels [n,2] into OpenCV's fixed-point coordinates on the oversampled canvas."""
    scaled = points * (OVERSAMPLING << SHIFT) + ((OVERSAMPLING - 1) << SHIFT) / 2
    return np.rint(scaled).astype(np.int32)


def blurred(image: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Blur by two box filters of together `sigma`: as fast for wide blurs as for narrow ones."""
    side = round(math.sqrt(6 * sigma * sigma + 1)) | 1
    return cv2.blur(cv2.blur(image, (side, side)), (side, side))


def mixed(colour: Colour, other: Colour, share: float) -> Colour:
    """Return `colour` with a share of `other` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def shaded(colour: Colour, factor: float) -> Colour:
    """Return `colour` made darker or lighter."""
    red, green, blue = (min(255, round(value * factor)) for value in colour)
    return red, green, blue


class Canvas:
    """An RGB picture and a mask of the head in it; coordinates are pixels of the final image."""

    def __init__(self, size: int):
        side = size * OVERSAMPLING
        self.size = size
        self.pixels: Image = np.zeros((side, side, 3), np.uint8)
        self.head: Image = np.zeros((side, side), np.uint8)

    def fill(self, points: Points, colour: Colour, *, head: bool = False) -> None:
        """Draw a filled polygon [n,2]; `head`: it belongs to the head and takes its light."""
        corners = fixed(points)
        cv2.fillPoly(self.pixels, [corners], colour, cv2.LINE_AA, SHIFT)
        if head:
            cv2.fillPoly(self.head, [corners], 255, cv2.LINE_AA, SHIFT)

    def lines(
        self, lines: Sequence[Points], colour: Colour, width: float, *, closed: bool = False
    ) -> None:
        """Draw lines through points [n,2]; a width below one pixel as half a pixel."""
        thickness = max(1, round(width * OVERSAMPLING))
        corners = [fixed(line) for line in lines]
        cv2.polylines(self.pixels, corners, closed, colour, thickness, cv2.LINE_AA, SHIFT)

    def dot(self, centre: Points, radius: float, colour: Colour) -> None:
        """Draw a filled circle around [2]."""
        x, y = fixed(centre.reshape(1, 2))[0]
        whole = max(1, round(radius * OVERSAMPLING * (1 << SHIFT)))
        cv2.circle(self.pixels, (int(x), int(y)), whole, colour, cv2.FILLED, cv2.LINE_AA, SHIFT)

    def tint(self, points: Points, colour: Colour, strength: float, soft: float = 0.0) -> None:
        """Mix `colour` into the part of a polygon that lies on the head.

        `soft` is the blur of its edge in pixels.
        """
        window = self._window(points, 2.5 * soft)
        if window is None or strength <= 0:
            return
        rows, columns, mask = window
        if soft > 0:
            mask = blurred(mask, soft * OVERSAMPLING)
        mask = cv2.min(mask, self.head[rows, columns])
        patch = self.pixels[rows, columns]
        weight = mask[..., None] * np.float32(strength / 255)
        change = (np.array(colour, np.float32) - patch) * weight
        self.pixels[rows, columns] = np.rint(patch + change).astype(np.uint8)

    def paste(self, points: Points, painter: "Canvas") -> None:
        """Copy what `painter` shows inside the part of a polygon that lies on the head."""
        window = self._window(points, 0)
        if window is not None:
            rows, columns, mask = window
            mask = cv2.min(mask, self.head[rows, columns])
            cv2.copyTo(painter.pixels[rows, columns], mask, self.pixels[rows, columns])

    def _window(self, points: Points, margin: float) -> tuple[slice, slice, Image] | None:
        """Return rows, columns and mask of the part of the canvas that a polygon touches."""
        corners = fixed(points)
        side = len(self.pixels)
        reach = int(margin * OVERSAMPLING) + 2
        low = np.maximum((corners.min(axis=0) >> SHIFT) - reach, 0)
        high = np.minimum((corners.max(axis=0) >> SHIFT) + reach + 1, side)
        if (low >= high).any():
            return None
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        cv2.fillPoly(mask, [corners - (low << SHIFT)], 255, cv2.LINE_AA, SHIFT)
        return slice(low[1], high[1]), slice(low[0], high[0]), mask
