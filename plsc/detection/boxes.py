"""Boxes and landmarks relative to anchors, as RetinaFace's networks give and learn them.

Anchors are as `plsc.detection.anchors` has them: centre, width and height as shares of the image's
sides. Boxes are corners, landmarks points x, y, in the same shares. What a network gives is divided
by variances: a centre or point as a share of the anchor's sides over 0.1, a side as the logarithm
of its share over 0.2.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
CENTRE_VARIANCE, SIDE_VARIANCE = 0.1, 0.2
SMALLEST = 1e-12  # stands for sides of 0, whose logarithm is not finite


def corners_of(anchors: Array) -> Array:
    """Return anchors [a, 4] as corners: left, top, right, bottom."""
    halves = anchors[:, 2:] / 2
    return np.concatenate([anchors[:, :2] - halves, anchors[:, :2] + halves], axis=1)


def encode_boxes(boxes: Array, anchors: Array) -> Array:
    """Return what a network should give at `anchors` [n, 4] for the corners `boxes` [n, 4]."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - anchors[:, :2]
    shares = np.maximum((boxes[:, 2:] - boxes[:, :2]) / anchors[:, 2:], SMALLEST)
    scaled = centres / (CENTRE_VARIANCE * anchors[:, 2:])
    return np.concatenate([scaled, np.log(shares) / SIDE_VARIANCE], axis=1)


def encode_landmarks(landmarks: Array, anchors: Array) -> Array:
    """Return what a network should give at `anchors` [n, 4] for `landmarks` [n, 10]."""
    points = landmarks.reshape(len(landmarks), landmarks.shape[1] // 2, 2)
    scaled = (points - anchors[:, None, :2]) / (CENTRE_VARIANCE * anchors[:, None, 2:])
    return scaled.reshape(landmarks.shape)


def decode_boxes(given: Array, anchors: Array) -> Array:
    """Return the corners [n, 4] that a network gives at `anchors`: the inverse of encoding."""
    centres = anchors[:, :2] + given[:, :2] * CENTRE_VARIANCE * anchors[:, 2:]
    sides = anchors[:, 2:] * np.exp(given[:, 2:] * SIDE_VARIANCE)
    corner = centres - sides / 2
    return np.concatenate([corner, corner + sides], axis=1)


def decode_landmarks(given: Array, anchors: Array) -> Array:
    """Return the landmarks [n, 10] that a network gives at `anchors`: the inverse of encoding."""
    points = (
        given.reshape(len(given), given.shape[1] // 2, 2) * CENTRE_VARIANCE * anchors[:, None, 2:]
    )
    return (anchors[:, None, :2] + points).reshape(given.shape)


def areas(boxes: Array) -> Array:
    """Return the areas [n] of corners."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return sides[:, 0] * sides[:, 1]


def overlaps(boxes: Array, others: Array) -> Array:
    """Return the areas [n, m] of the intersections of corners [n, 4] and [m, 4]."""
    return _along(boxes, others, 0) * _along(boxes, others, 1)


def _along(boxes: Array, others: Array, axis: int) -> Array:
    """Return the lengths [n, m] of what corners have in common along an axis."""
    # Axis by axis, in place: a third of the time that pairs of numbers take.
    shared = np.minimum(boxes[:, axis + 2, None], others[None, :, axis + 2])
    shared -= np.maximum(boxes[:, axis, None], others[None, :, axis])
    return np.maximum(shared, 0, out=shared)
