"""Match faces with the anchors that learn them: on the host, before the network has run.

A face is fifteen numbers: left, top, right and bottom edge, five landmarks x and y, all as shares
of the image's sides, and a label: 1, or -1 for a face without landmarks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plsc.detection.boxes import areas, corners_of, encode_boxes, encode_landmarks, overlaps

Array = NDArray[np.floating]
BOX, LANDMARKS, LABEL = slice(0, 4), slice(4, 14), 14  # where a face has them
FACE_VALUES = 15
MATCH, FORCED_MATCH = 0.35, 0.2  # least shares of a union that anchor and face have in common
BEYOND_ALL = 2.0  # an overlap above any other


@dataclass(frozen=True)
class Targets:
    """Holds what the anchors of some images should give.

    Attributes:
        labels: int8 [b, a], 1, -1 for a face without landmarks, 0 for none.
        rows: [p], places of the anchors with a face in [b * a], ascending.
        boxes: float32 [p, 4], encoded.
        landmarks: float32 [p, 10], encoded; means nothing where the label is -1.

    """

    labels: NDArray[np.int8]
    rows: NDArray[np.int64]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]

    @property
    def num_positive(self) -> int:
        """Return how many anchors have a face."""
        return len(self.rows)

    @property
    def num_with_landmarks(self) -> int:
        """Return how many anchors have a face with landmarks."""
        return int(np.count_nonzero(self.labels > 0))

    def of_images(self, start: int, stop: int) -> "Targets":
        """Return the targets of the images from `start` to `stop`."""
        size = self.labels.shape[1]
        own = slice(*np.searchsorted(self.rows, [start * size, stop * size]))
        return Targets(
            self.labels[start:stop],
            self.rows[own] - start * size,
            self.boxes[own],
            self.landmarks[own],
        )


def match_images(images: Sequence[Array], anchors: Array, *, threshold: float = MATCH) -> Targets:
    """Return the targets of images, each with its faces [n, 15], of one size."""
    found = [match_faces(faces, anchors, threshold=threshold) for faces in images]
    labels = np.stack([labels for labels, _ in found])
    places = np.nonzero(labels)
    faces = np.concatenate([faces[of[labels != 0]] for faces, (labels, of) in
                            zip(images, found, strict=True)])  # fmt: skip
    own = anchors[places[1]]
    return Targets(
        labels,
        places[0] * len(anchors) + places[1],
        encode_boxes(faces[:, BOX], own).astype(np.float32),
        encode_landmarks(faces[:, LANDMARKS], own).astype(np.float32),
    )


def match_faces(
    faces: Array, anchors: Array, *, threshold: float = MATCH
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Return for each anchor the label [a] and which of `faces` [n, 15] it learns [a].

    An anchor takes the face that it has most in common with, if that is `threshold` of their union.
    Each face is also given to the anchor that fits it best, be it less, unless it has less than 0.2
    in common with every one: then it comes too late for that anchor to become positive, but if
    another face makes it so, the anchor learns this one. So both published systems do it. Of
    anchors that fit alike the first is the best; of faces that want one anchor the last has it.
    """
    labels, of = np.zeros(len(anchors), np.int8), np.zeros(len(anchors), np.int64)
    if not len(faces):
        return labels, of
    corners = corners_of(anchors)
    shared = overlaps(faces[:, BOX], corners)
    union = areas(faces[:, BOX])[:, None] + areas(corners) - shared
    common = shared / np.maximum(union, np.finfo(np.float32).tiny)  # [n, a]
    best_anchor = common.argmax(axis=1)
    forced = common[np.arange(len(faces)), best_anchor] >= FORCED_MATCH
    if not forced.any():
        return labels, of
    of, most = common.argmax(axis=0), common.max(axis=0)
    most[best_anchor[forced]] = BEYOND_ALL
    for face, anchor in enumerate(best_anchor):
        of[anchor] = face
    positive = most >= threshold
    labels[positive] = faces[of[positive], LABEL]
    return labels, of
