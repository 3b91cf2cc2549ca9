"""From a detector's outputs to faces: decoding, a threshold, and the best of boxes that overlap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

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

    def suppressed(self, overlap: float = NMS_THRESHOLD) -> "Detections":
        """Return those that no surer one overlaps by more than this share of their union."""
        return self.rows(suppress(self.boxes, overlap))

    def rows(self, rows: NDArray[np.int64]) -> "Detections":
        """Return some of them, in this order."""
        return Detections(
            self.boxes[rows], self.scores[rows], self.landmarks[rows], self.anchors[rows]
        )

    @classmethod
    def of_all(cls, parts: "Sequence[Detections]") -> "Detections":
        """Return those of several searches of one image, the surest first."""
        together = cls(
            *(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(cls))
        )
        return together.rows(np.argsort(-together.scores, kind="stable"))


def detections_of(
    outputs: Mapping[str, Array],
    size: tuple[int, int],
    *,
    scale: float = 1.0,
    threshold: float = SCORE_THRESHOLD,
    overlap: float = NMS_THRESHOLD,
) -> Detections:
    """Return the faces that a network's outputs for one image say, each of them once.

    Args:
        outputs: bbox [a, 4], score [a, 2] and landmark [a, 10], scores as probabilities.
        size: height and width of what the network was given.
        scale: that is the image, enlarged so many times.
        threshold: faces have a score above this.
        overlap: of two boxes whose intersection is a larger share of their union, the surer stays.

    """
    return candidates_of(outputs, size, scale=scale, threshold=threshold).suppressed(overlap)


def candidates_of(
    outputs: Mapping[str, Array],
    size: tuple[int, int],
    *,
    scale: float = 1.0,
    threshold: float = SCORE_THRESHOLD,
) -> Detections:
    """Return what each anchor above the threshold says; arguments as of `detections_of`."""
    height, width = size
    scores = outputs["score"][:, 1]
    rows = np.flatnonzero(scores > threshold)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    anchors = anchors_of(height, width)[rows]
    sides = np.array([width, height], np.float32)
    boxes = decode_boxes(outputs["bbox"][rows], anchors) * np.tile(sides, 2) / scale
    points = decode_landmarks(outputs["landmark"][rows], anchors).reshape(-1, 5, 2)
    return Detections(boxes, scores[rows], points * sides / scale, rows)


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
