"""Measure how well known faces were found: AP, recall by size, landmarks."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from plsc.detection.boxes import areas, overlaps

Array = NDArray[np.floating]
SHARES = np.round(np.arange(10) * 0.05 + 0.5, 2)  # of a union: 0.5 to 0.95
SIZES = (0, 24, 48, 96, 192)  # pixels of a face's longer side, where the ranges of sizes begin


@dataclass
class FoundFaces:
    """Collects what was found, image by image.

    Attributes:
        scores: of the boxes, image by image.
        finds: bool [n, 10], whether a box finds a face at each of `SHARES`.
        sides: of the faces, the longer ones.
        found: bool, whether a face was found at the first of `SHARES`.
        errors: of landmarks, the mean distance as a share of the face's size; nan where unknown.

    """

    scores: list[Array] = field(default_factory=list)
    finds: list[NDArray[np.bool_]] = field(default_factory=list)
    sides: list[Array] = field(default_factory=list)
    found: list[NDArray[np.bool_]] = field(default_factory=list)
    errors: list[Array] = field(default_factory=list)

    def add(self, boxes: Array, points: Array, found: Array) -> None:
        """Match the faces of an image with what was found in it.

        Args:
            boxes: corners [k, 4] of the faces.
            points: [k, 5, 2], nan where unknown.
            found: [n, 15], corners, score, ten landmarks; the surest first.

        """
        sides = boxes[:, 2:] - boxes[:, :2]
        finds, errors = np.zeros((len(found), len(SHARES)), bool), np.full(len(boxes), np.nan)
        there = np.zeros(len(boxes), bool)
        if len(boxes) and len(found):
            shared = overlaps(found[:, :4], boxes)
            common = shared / (areas(found[:, :4])[:, None] + areas(boxes) - shared)
            for column, share in enumerate(SHARES):
                pairs = _pairs(common, float(share))
                finds[[row for row, _ in pairs], column] = True
                if not column:
                    for row, face in pairs:
                        there[face] = True
                        distances = np.linalg.norm(
                            found[row, 5:].reshape(5, 2) - points[face], axis=1
                        )
                        errors[face] = distances.mean() / np.sqrt(sides[face].prod())
        self.scores.append(found[:, 4])
        self.finds.append(finds)
        self.sides.append(sides.max(axis=1, initial=0))
        self.found.append(there)
        self.errors.append(errors)

    def scalars(self) -> dict[str, float]:
        """Return AP at 0.5 and its mean from 0.5 to 0.95, recall and landmark error by size.

        Figures of which there is nothing to take them from are left out.
        """
        scores, finds = np.concatenate(self.scores), np.concatenate(self.finds)
        sides, found = np.concatenate(self.sides), np.concatenate(self.found)
        errors = np.concatenate(self.errors)
        order = np.argsort(-scores, kind="stable")
        by_share = [average_precision(finds[order, n], len(sides)) for n in range(len(SHARES))]
        figures = {"ap_50": by_share[0], "ap_50_95": float(np.mean(by_share))}
        known = ~np.isnan(errors)
        if len(sides):
            figures["recall"] = float(found.mean())
        if known.any():
            figures["nme"] = float(errors[known].mean())
        for low, high in zip(SIZES, (*SIZES[1:], np.inf), strict=True):
            own = (sides >= low) & (sides < high)
            name = f"{low}_{high}" if high < np.inf else f"{low}_up"
            if own.any():
                figures[f"recall_{name}"] = float(found[own].mean())
            if (own & known).any():
                figures[f"nme_{name}"] = float(errors[own & known].mean())
        return figures


def _pairs(common: Array, share: float) -> list[tuple[int, int]]:
    """Return (box, face): each box in turn takes the face left with which it shares most."""
    pairs, left = [], np.ones(common.shape[1], bool)
    for row in np.flatnonzero((common >= share).any(axis=1)).tolist():
        face = int(np.where(left, common[row], -1).argmax())
        if left[face] and common[row, face] >= share:
            pairs.append((row, face))
            left[face] = False
    return pairs


def average_precision(finds: NDArray[np.bool_], num_faces: int) -> float:
    """Return the area under precision over recall, each the best at that recall or more.

    Args:
        finds: whether a box finds a face, the surest box first.
        num_faces: to be found.

    """
    if not num_faces:
        return 0.0
    count = np.cumsum(finds)
    precision = count / np.arange(1, len(finds) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[finds].sum() / num_faces)


def gathered_figures(
    boxes: Sequence[Array], points: Sequence[Array], found: Sequence[Array]
) -> dict[str, float]:
    """Return `FoundFaces.scalars` of several images, item by item as of `FoundFaces.add`."""
    faces = FoundFaces()
    for item in zip(boxes, points, found, strict=True):
        faces.add(*item)
    return faces.scalars()
