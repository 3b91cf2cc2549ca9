"""The IJB-B and IJB-C protocols on templates of faces: 1:1 scores, TPR at FPR.

Whitelam et al., "IARPA Janus Benchmark-B Face Dataset", CVPRW 2017; Maze et al., "IARPA Janus
Benchmark-C", ICB 2018. Scores and the reading of the ROC curve follow InsightFace. numpy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plsc.recognition.metrics.roc import RocCurve, Threshold
from plsc.recognition.metrics.templates import Floats, Integers, Templates

FPR_TARGETS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
BLOCK_TEMPLATES = 256  # scores of a block with all others stay in the processor's cache
GATHERED_PAIRS = 1024  # so do the vectors of that many pairs
GATHER_COST = 32  # cost of scoring one pair alone, in elements of a matrix product


def pair_scores(templates: Templates, first_ids: ArrayLike, second_ids: ArrayLike) -> Floats:
    """Return the cosine of each pair of templates, float32 [P], in the order of the pairs.

    Where the pairs are dense in the matrix of all pairs, their scores are read from a matrix
    product, block by block. Other pairs are computed one by one.

    Args:
        templates: the templates.
        first_ids: int [P], the first template of each pair.
        second_ids: int [P], the second template of each pair.

    Raises:
        UserError: a template of the pairs has no faces.

    """
    first, second = templates.rows(first_ids), templates.rows(second_ids)
    assert len(first) == len(second), (len(first), len(second))
    (left, first), (right, second) = (_used(templates.vectors, rows) for rows in (first, second))
    if len(left) == len(right) == len(templates.ids):  # all with all: half of it is enough
        first, second = np.minimum(first, second), np.maximum(first, second)
    blocks = first // BLOCK_TEMPLATES
    blocks = blocks.astype(np.uint16) if len(left) >> 16 < BLOCK_TEMPLATES else blocks
    order = np.argsort(blocks, kind="stable")
    ends = np.cumsum(np.bincount(blocks))
    scores = np.empty(len(first), np.float32)
    for number, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        if begin == end:
            continue
        pairs, start = order[begin:end], number * BLOCK_TEMPLATES
        scores[pairs] = _block_scores(
            left[start : start + BLOCK_TEMPLATES], right, first[pairs] - start, second[pairs]
        )
    return scores


def _used(vectors: Floats, rows: NDArray[np.int32]) -> tuple[Floats, NDArray[np.int32]]:
    """Return the vectors that `rows` [P] select, and the index of each of `rows` among them."""
    used = np.bincount(rows, minlength=len(vectors)) > 0
    if used.all():
        return vectors, rows
    return vectors[used], (np.cumsum(used, dtype=np.int32) - 1)[rows]


def _block_scores(left: Floats, right: Floats, first: Integers, second: Integers) -> Floats:
    """Return the dot products of `left[first]` and `right[second]`."""
    low, high = int(second.min()), int(second.max()) + 1
    if len(left) * (high - low) <= GATHER_COST * len(first):
        cosines = left @ right[low:high].T
        scores: Floats = cosines.ravel()[first.astype(np.int64) * (high - low) + (second - low)]
        return scores
    scores = np.empty(len(first), np.float32)
    for start in range(0, len(first), GATHERED_PAIRS):
        part = slice(start, start + GATHERED_PAIRS)
        scores[part] = np.einsum("pd,pd->p", left[first[part]], right[second[part]])
    return scores


@dataclass(frozen=True)
class NearestPoint:
    """The point of a ROC curve whose FPR is nearest to the one asked for, above or below it.

    Attributes:
        target: the requested FPR.
        fpr: share of impostor pairs accepted.
        tpr: share of genuine pairs accepted.
        threshold: the lowest score that is accepted.

    """

    target: float
    fpr: float
    tpr: float
    threshold: Threshold

    def to_dict(self) -> dict[str, float]:
        """Return the point and its threshold as a dictionary for JSON."""
        point = {"target": self.target, "fpr": self.fpr, "tpr": self.tpr}
        return point | self.threshold.to_dict()


def tpr_at_fpr(curve: RocCurve, targets: Sequence[float] = FPR_TARGETS) -> list[NearestPoint]:
    """Read a ROC curve as published tables of IJB results do.

    Of equally near points, take the one with the largest TPR; nothing is interpolated. Use only
    the points that scikit-learn's `roc_curve` keeps. It drops a threshold if the step to it adds
    as many genuine and as many impostor pairs as the step from it, which can change the nearest
    point.
    """
    same, impostors = curve.accepted_same, curve.accepted_impostors
    is_kept = np.ones(len(curve.scores), bool)
    # The first point accepts nobody: scikit-learn adds it after it has dropped others.
    is_kept[2:-1] = np.diff(impostors[1:], 2) != 0
    is_kept[2:-1] |= np.diff(same[1:], 2) != 0
    indices = np.flatnonzero(is_kept)[::-1]  # reversed, so that argmin takes the last of equals
    fprs = impostors[indices] / curve.num_impostors
    points = []
    for target in targets:
        index = indices[np.argmin(np.abs(fprs - target))]
        points.append(
            NearestPoint(
                target=float(target),
                fpr=int(impostors[index]) / curve.num_impostors,
                tpr=int(same[index]) / curve.num_same,
                threshold=Threshold(float(curve.scores[index])),
            )
        )
    return points
