"""A sample: an image, and what belongs to it and has to move with it.

A sample is a mapping. `image` is the image file as bytes, then its pixels. Places in the image are

    boxes   [n, 4], left, top, right and bottom edge
    points  [n, k, 2], x and y of k points of each of n things

in pixels from the upper left corner: an image of w pixels reaches from x = 0 to x = w, and the
centre of its first pixel is at 0.5. A place that is not known is nan, and stays so.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from plsc.errors import UserError

Sample = Mapping[str, Any]
IMAGE, BOXES, POINTS = "image", "boxes", "points"
# Left eye, right eye, nose, left and right corner of the mouth, as one sees the image: which of the
# five is which in a mirror.
MIRRORED_LANDMARKS = [1, 0, 2, 4, 3]


def refuse_places(sample: Sample, transform: str) -> None:
    """Refuse a sample with places in the image, for a transform that would not move them.

    Raises:
        UserError: `sample` has boxes or points.

    """
    if BOXES in sample or POINTS in sample:
        have = " and ".join(name for name in (BOXES, POINTS) if name in sample)
        raise UserError(
            f"{transform} moves the pixels of an image but not its {have}: leave it out of "
            "transform_ops for this data set"
        )


def mirrored_places(sample: Sample, width: int) -> dict[str, np.ndarray]:
    """Return boxes and points of `sample`, those it has, with left and right exchanged.

    x becomes width - x; the left and the right ones of five landmarks change places.

    Raises:
        UserError: points are not the five landmarks of faces: which is which is not known.

    """
    mirrored = {}
    if BOXES in sample:
        boxes = sample[BOXES].copy()
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        mirrored[BOXES] = boxes
    if POINTS in sample:
        if sample[POINTS].shape[1:] != (len(MIRRORED_LANDMARKS), 2):
            raise UserError(
                "RandFlipImage mirrors points that are the five landmarks of faces, [n, 5, 2], got "
                f"{list(sample[POINTS].shape)}"
            )
        points = sample[POINTS][:, MIRRORED_LANDMARKS]
        points[..., 0] = width - points[..., 0]
        mirrored[POINTS] = points
    return mirrored
