"""Anchors: the boxes that a detector's outputs are relative to, for images of any size."""

import functools
import math

import numpy as np
from numpy.typing import NDArray

STRIDES = (8, 16, 32)
SIDES = ((16, 32), (64, 128), (256, 512))  # of the anchors of each stride, in pixels
ANCHORS_PER_CELL = 2


def num_anchors(height: int, width: int) -> int:
    """Return how many anchors an image has."""
    cells = (math.ceil(height / step) * math.ceil(width / step) for step in STRIDES)
    return ANCHORS_PER_CELL * sum(cells)


@functools.lru_cache(maxsize=16)
def anchors_of(height: int, width: int) -> NDArray[np.float32]:
    """Return the anchors [a, 4] of an image: centre x, centre y, width and height.

    As shares of the image's sides; level by level, row by row, the smaller of a cell first. The
    array is shared and cannot be written.
    """
    levels = []
    for step, sides in zip(STRIDES, SIDES, strict=True):
        rows, columns = math.ceil(height / step), math.ceil(width / step)
        level = np.empty((rows, columns, len(sides), 4))
        level[..., 0] = ((np.arange(columns) + 0.5) * step / width)[None, :, None]
        level[..., 1] = ((np.arange(rows) + 0.5) * step / height)[:, None, None]
        level[..., 2] = np.array(sides) / width
        level[..., 3] = np.array(sides) / height
        levels.append(level.reshape(-1, 4))
    anchors = np.concatenate(levels).astype(np.float32)
    anchors.flags.writeable = False
    return anchors
