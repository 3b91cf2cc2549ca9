"""Average precision by WIDER FACE's rules.

A box goes to the face with which it shares most, if that is half of their union; sides count one
pixel more than the difference of their edges. The first box on a face finds it, further ones are
false. Boxes on a face that a set does not count are neither. Scores are stretched from 0 to 1 over
all boxes, and precision and recall are taken at a thousand of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from plsc.detection.widerface.ground_truth import SETS, MarkedImage

SHARE = 0.5  # of a union
THRESHOLDS = 1 - np.arange(1, 1001) / 1000
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall of a set at 1000 thresholds of the score, from high to low.

    Attributes:
        precision: float64 [1000]; nan where there is no box.
        recall: float64 [1000].
        num_faces: that count.

    """

    precision: Array
    recall: Array
    num_faces: int

    @property
    def average_precision(self) -> float:
        """Return the area under the curve that takes the best precision at each recall or more."""
        known = np.nan_to_num(self.precision)  # without a box nothing is recalled: no area
        recall = np.concatenate([[0.0], self.recall, [1.0]])
        best = np.maximum.accumulate(np.concatenate([[0.0], known, [0.0]])[::-1])[::-1]
        return float((np.diff(recall) * best[1:]).sum())


@dataclass
class Matches:
    """Collects what was found, box by box."""

    scores: list[Array] = field(default_factory=list)
    false: dict[str, list[NDArray[np.bool_]]] = field(default_factory=dict)
    finds: dict[str, list[NDArray[np.bool_]]] = field(default_factory=dict)
    num_faces: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SETS, 0))
    lowest: float = np.inf
    highest: float = -np.inf

    def add(self, image: MarkedImage, boxes: Array) -> None:
        """Match the boxes [n, 5] of an image, x y width height score, with its faces."""
        for key, counted in image.counted.items():
            self.num_faces[key] += int(counted.sum())
        if not len(boxes):
            return
        self.lowest = min(self.lowest, float(boxes[:, 4].min()))
        self.highest = max(self.highest, float(boxes[:, 4].max()))
        if not len(image.boxes):
            return  # boxes in images without faces count neither way
        boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
        face, shared = _best_faces(boxes, image.boxes)
        on_face = shared >= SHARE
        self.scores.append(boxes[:, 4])
        for key, counted in image.counted.items():
            takes = np.flatnonzero(on_face & counted[face])
            finds = np.zeros(len(boxes), bool)
            finds[takes[np.unique(face[takes], return_index=True)[1]]] = True
            self.finds.setdefault(key, []).append(finds)
            self.false.setdefault(key, []).append(~finds & ~(on_face & ~counted[face]))

    def curve(self, key: str) -> Curve:
        """Return precision and recall of a set."""
        num_faces = self.num_faces[key]
        if not self.scores:
            return Curve(np.full(len(THRESHOLDS), np.nan), np.zeros(len(THRESHOLDS)), num_faces)
        spread = self.highest - self.lowest
        scores = (np.concatenate(self.scores) - self.lowest) / (spread or 1.0)
        finds, false = (np.concatenate(flags[key]) for flags in (self.finds, self.false))
        found, wrong = (_at_least(scores[flags]) for flags in (finds, false))
        with np.errstate(invalid="ignore"):
            return Curve(found / (found + wrong), found / max(num_faces, 1), num_faces)


def _at_least(scores: Array) -> Array:
    """Return how many scores are at or above each threshold, as floats."""
    ordered = np.sort(scores)
    return (len(ordered) - np.searchsorted(ordered, THRESHOLDS, side="left")).astype(np.float64)


def _best_faces(boxes: Array, faces: Array) -> tuple[NDArray[np.int64], Array]:
    """Return for each box the face with which it shares most, and which share of their union."""
    shared = _overlap(boxes, faces, 0) * _overlap(boxes, faces, 1)
    areas = (boxes[:, 2] + 1) * (boxes[:, 3] + 1)
    union = areas[:, None] + (faces[:, 2] + 1) * (faces[:, 3] + 1) - shared
    shares = shared / union
    best = shares.argmax(axis=1)
    return best, shares[np.arange(len(boxes)), best]


def _overlap(boxes: Array, faces: Array, axis: int) -> Array:
    """Return how many pixels [n, m] boxes and faces have in common along an axis."""
    ends = boxes[:, axis] + boxes[:, axis + 2]
    face_ends = faces[:, axis] + faces[:, axis + 2]
    stop = np.minimum(ends[:, None], face_ends)
    stop -= np.maximum(boxes[:, axis, None], faces[:, axis])
    stop += 1
    return np.maximum(stop, 0, out=stop)


def curves_of(images: Sequence[MarkedImage], predictions: Sequence[Array]) -> dict[str, Curve]:
    """Return the curves of the three sets; `predictions` are those of the images, one by one."""
    matches = Matches()
    for image, boxes in zip(images, predictions, strict=True):
        matches.add(image, boxes)
    return {key: matches.curve(key) for key in SETS}
