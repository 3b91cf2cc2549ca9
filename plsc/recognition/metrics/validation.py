"""VAL@FAR: InsightFace's true accept rate over folds, at thresholds that other folds give.

numpy only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from plsc.recognition.metrics.folds import (
    Floats,
    count_below,
    fold_masks,
    squared_distances,
    unit_pairs,
)

VAL_THRESHOLDS = np.arange(0, 4, 0.001)  # squared distances of unit vectors


@dataclass(frozen=True)
class Validation:
    """VAL@FAR: share of same pairs accepted at thresholds that other folds gave for `target`.

    Attributes:
        val: mean over the folds that hold same pairs.
        std: of the population, over these folds.
        far: share of different pairs accepted there, over the folds that hold such.
        target: the false accept rate that was asked for.

    """

    val: float
    std: float
    far: float
    target: float


def val_at_far(
    embeddings: ArrayLike, issame: ArrayLike, *, far_target: float = 1e-3, nrof_folds: int = 10
) -> Validation:
    """Return the share of same pairs accepted (VAL) where `far_target` of the different ones are.

    The threshold of a fold is interpolated on the other folds' curve of false accepts; where that
    never reaches the target it is 0, which accepts nobody.

    Args:
        embeddings: [2P, d], any length; rows 2i and 2i+1 are pair i.
        issame: [P] whether a pair shows one person.
        far_target: false accept rate, 0 to 1.
        nrof_folds: number of contiguous folds.

    Raises:
        CollapsedEmbeddings, UserError: as `verification_accuracy`.

    """
    unit, same = unit_pairs(embeddings, issame, nrof_folds)
    distances = squared_distances(unit)
    vals, fars = [], []
    for test in fold_masks(len(same), nrof_folds):
        threshold = _threshold_at_far(distances[~test & ~same], far_target)
        accepted = distances < threshold
        if (test & same).any():
            vals.append(accepted[test & same].mean())
        if (test & ~same).any():
            fars.append(accepted[test & ~same].mean())
    return Validation(
        val=float(np.mean(vals)),
        std=float(np.std(vals)),
        far=float(np.mean(fars)),
        target=far_target,
    )


def _threshold_at_far(different: Floats, far_target: float) -> float:
    """Return the threshold at which `far_target` of the distances `different` [n] are accepted."""
    if not len(different):
        return 0.0
    far = count_below(different, VAL_THRESHOLDS) / len(different)
    if far[-1] < far_target:
        return 0.0
    # The curve has steps: interpolation needs one threshold per rate, the last that still has it.
    rates, first_of_reversed = np.unique(far[::-1], return_index=True)
    thresholds = VAL_THRESHOLDS[::-1][first_of_reversed]
    return float(np.interp(far_target, rates, thresholds))
