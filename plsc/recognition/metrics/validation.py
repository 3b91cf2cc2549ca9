"""VAL@FAR: InsightFace's true accept rate over folds, at thresholds taken from other folds.

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
    """VAL@FAR: the share of genuine pairs accepted at thresholds that other folds set.

    Attributes:
        val: mean over the folds that hold genuine pairs.
        std: population standard deviation over these folds.
        far: mean share of impostor pairs accepted, over the folds that hold impostor pairs.
        target: the requested false accept rate.

    """

    val: float
    std: float
    far: float
    target: float


def val_at_far(
    embeddings: ArrayLike, issame: ArrayLike, *, far_target: float = 1e-3, nrof_folds: int = 10
) -> Validation:
    """Return the share of genuine pairs accepted (VAL) at a false accept rate of `far_target`.

    The threshold of a fold is interpolated on the false-accept curve of the other folds. If that
    curve never reaches the target, the threshold is 0, which accepts nobody.

    Args:
        embeddings: [2P, d], of any length; rows 2i and 2i+1 are pair i.
        issame: bool [P], true where a pair shows one person.
        far_target: false accept rate, 0 to 1.
        nrof_folds: number of contiguous folds.

    Raises:
        CollapsedEmbeddings, UserError: as in `verification_accuracy`.

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
    # The curve has steps, and interpolation needs one threshold per rate: take the last one.
    rates, first_of_reversed = np.unique(far[::-1], return_index=True)
    thresholds = VAL_THRESHOLDS[::-1][first_of_reversed]
    return float(np.interp(far_target, rates, thresholds))
