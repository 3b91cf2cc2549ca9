"""From a detector's outputs to faces: decoding, a threshold, and the best of boxes that overlap."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plsc.detection.anchors import anchors_of
from plsc.detection.boxes import decode_boxes, decode_landmarks

Array = NDArray[np.floating]
SCORE_THRESHOLD, NMS_THRESHOLD = 0.02, 0.4


@dataclass(frozen=True)
class Detections:
    """Faces that were found in an image, the surest first.

    Attributes:
        boxes: [n, 4], left, top, right and bottom edge, in pixels.
        scores: [n], how sure, from 0 to 1.
        landmarks: [n, 5, 2], x and y of left eye, right eye, nose, left and right mouth corner.
        anchors: [n], which anchor each came from.

    """

    boxes: Array
    scores: Array
    landmarks: Array
    anchors: NDArray[np.int64]


def detections_of(
    outputs: Mapping[str, Array],
    size: tuple[int, int],
    *,
    scale: float = 1.0,
    threshold: float = SCORE_THRESHOLD,
    overlap: float = NMS_THRESHOLD,
) -> Detections:
    """Return the faces that a network's outputs for one image say.

    Args:
        outputs: bbox [a, 4], score [a, 2] and landmark [a, 10], scores as probabilities.
        size: height and width of what the network was given.
        scale: that is the image, enlarged so many times.
        threshold: faces have a score above this.
        overlap: of two boxes whose intersection is a larger share of their union, the surer stays.

    """
    height, width = size
    scores = outputs["score"][:, 1]
    candidates = np.flatnonzero(scores > threshold)
    candidates = candidates[np.argsort(-scores[candidates], kind="stable")]
    anchors = anchors_of(height, width)[candidates]
    sides = np.array([width, height], np.float32)
    boxes = decode_boxes(outputs["bbox"][candidates], anchors) * np.tile(sides, 2) / scale
    points = decode_landmarks(outputs["landmark"][candidates], anchors).reshape(-1, 5, 2)
    kept = suppress(boxes, overlap)
    return Detections(
        boxes[kept], scores[candidates][kept], points[kept] * sides / scale, candidates[kept]
    )


def suppress(boxes: Array, overlap: float) -> NDArray[np.int64]:
    """Return the rows of `boxes` [n, 4], the surest first, that no surer one overlaps too much.

    Sides count one pixel more than the difference of the edges, as in the published evaluations.
    """
    left, top, right, bottom = (np.ascontiguousarray(edge) for edge in boxes.T)
    area = (right - left + 1) * (bottom - top + 1)
    ahead, kept = np.arange(len(boxes)), []
    while ahead.size:
        best, ahead = ahead[0], ahead[1:]
        kept.append(best)
        width = np.minimum(right[best], right[ahead]) - np.maximum(left[best], left[ahead]) + 1
        height = np.minimum(bottom[best], bottom[ahead]) - np.maximum(top[best], top[ahead]) + 1
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        ahead = ahead[shared / (area[best] + area[ahead] - shared) <= overlap]
    return np.array(kept, np.int64)
