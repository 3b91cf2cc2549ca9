"""1:1 verification over folds after the LFW protocol, unrestricted with labelled outside data.

Huang et al., "Labeled Faces in the Wild", UMass Amherst TR 07-49; thresholds and folds as in
InsightFace and PLSC. numpy only.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plsc.errors import UserError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Squared Euclidean distances of unit vectors, 0 to 4; a pair is "same" strictly below a threshold.
ACCURACY_THRESHOLDS = np.arange(0, 4, 0.01)
VAL_THRESHOLDS = np.arange(0, 4, 0.001)


class CollapsedEmbeddings(UserError):
    """The embeddings do not tell images apart, so an accuracy of them would mean nothing."""


@dataclass(frozen=True)
class Accuracy:
    """Share of right decisions.

    Attributes:
        mean: over the folds.
        std: of the population, over the folds.
        folds: of each fold, at the threshold that is best on the others.
        threshold: the smallest squared distance that is best on all pairs.

    """

    mean: float
    std: float
    folds: tuple[float, ...]
    threshold: float

    @property
    def cosine(self) -> float:
        """The threshold as a cosine."""
        return 1 - self.threshold / 2  # |a - b|^2 = 2 - 2 cos for unit vectors

    def to_dict(self) -> dict[str, object]:
        """As JSON has it."""
        return {**asdict(self), "folds": list(self.folds), "cosine": self.cosine}


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


def verification_accuracy(
    embeddings: ArrayLike, issame: ArrayLike, *, nrof_folds: int = 10, pca: int = 0
) -> Accuracy:
    """Accuracy on each fold at the threshold that is best on the other folds.

    Args:
        embeddings: [2P, d], any length; rows 2i and 2i+1 are pair i.
        issame: [P] whether a pair shows one person.
        nrof_folds: number of contiguous folds.
        pca: number of principal components to project on, fitted per fold; 0 is off.

    Raises:
        CollapsedEmbeddings: not finite, or all images alike.
        UserError: fewer pairs than folds, pairs of one kind only, more components than `embeddings`
            can give.

    """
    unit, same = _unit_pairs(embeddings, issame, nrof_folds)
    distances = _squared_distances(unit)
    _refuse_alike(distances)
    folds = []
    for test in _folds(len(same), nrof_folds):
        if pca:
            distances = _squared_distances(_project(unit, ~test, pca))
        best = _accuracies(distances[~test], same[~test]).argmax()  # the first of equals
        decided = distances[test] < ACCURACY_THRESHOLDS[best]
        folds.append(float((decided == same[test]).mean()))
    overall = _squared_distances(_project(unit, np.ones_like(same), pca)) if pca else distances
    return Accuracy(
        mean=float(np.mean(folds)),
        std=float(np.std(folds)),
        folds=tuple(folds),
        threshold=float(ACCURACY_THRESHOLDS[_accuracies(overall, same).argmax()]),
    )


def val_at_far(
    embeddings: ArrayLike, issame: ArrayLike, *, far_target: float = 1e-3, nrof_folds: int = 10
) -> Validation:
    """Share of same pairs accepted (VAL) where `far_target` of the different ones are.

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
    unit, same = _unit_pairs(embeddings, issame, nrof_folds)
    distances = _squared_distances(unit)
    _refuse_alike(distances)
    vals, fars = [], []
    for test in _folds(len(same), nrof_folds):
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


def cosines(embeddings: ArrayLike) -> Floats:
    """Cosine of each pair [P], -1 to 1, from embeddings [2P, d] of any length.

    Taken from the squared distance, so that two equal images have exactly 1 and tie with others;
    0 where an embedding is zero.
    """
    unit = _unit(np.asarray(embeddings, np.float64))
    lengths = np.asarray(unit.any(axis=1), np.float64)
    values: Floats = (lengths[0::2] + lengths[1::2] - _squared_distances(unit)) / 2
    return values.clip(-1, 1)


def _threshold_at_far(different: Floats, far_target: float) -> float:
    """Threshold at which `far_target` of the distances `different` [n] are accepted."""
    if not len(different):
        return 0.0
    far = _count_below(different, VAL_THRESHOLDS) / len(different)
    if far[-1] < far_target:
        return 0.0
    # The curve has steps: interpolation needs one threshold per rate, the last that still has it.
    rates, first_of_reversed = np.unique(far[::-1], return_index=True)
    thresholds = VAL_THRESHOLDS[::-1][first_of_reversed]
    return float(np.interp(far_target, rates, thresholds))


def check_pairs(issame: ArrayLike, nrof_folds: int) -> None:
    """Check that pairs of these kinds [P] can be measured in folds.

    Raises:
        UserError: fewer pairs than folds, or pairs of one kind only.

    """
    same = np.asarray(issame, bool)
    if len(same) < nrof_folds:
        raise UserError(f"nrof_folds {nrof_folds} needs as many pairs, got {len(same)}")
    if same.all() or not same.any():
        raise UserError(
            f"verification needs pairs of both kinds, got {same.sum()} of one person "
            f"and {(~same).sum()} of two"
        )


def _unit_pairs(embeddings: ArrayLike, issame: ArrayLike, nrof_folds: int) -> tuple[Floats, Bools]:
    rows, same = np.asarray(embeddings, np.float64), np.asarray(issame, bool)
    assert rows.ndim == 2 and len(rows) == 2 * len(same), (rows.shape, same.shape)
    check_pairs(same, nrof_folds)
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise CollapsedEmbeddings(
            f"embeddings have collapsed: {bad.sum()} of {len(rows)} hold NaN or infinity"
        )
    return _unit(rows), same


def _unit(rows: Floats) -> Floats:
    """Rows [n, d] at length 1; those of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = rows / np.where(lengths > 0, lengths, 1)
    return unit


def _refuse_alike(distances: Floats) -> None:
    # Below the first threshold the protocol calls every pair the same: it would report the share
    # of same pairs, 0.5, as if the network had been measured.
    limit = float(ACCURACY_THRESHOLDS[1])
    if np.quantile(distances, 0.99) < limit:
        raise CollapsedEmbeddings(
            f"embeddings have collapsed: images look alike, the squared distance of 99 % of the "
            f"pairs is below {limit:g} (median {np.median(distances):.2g})"
        )


def _folds(num_pairs: int, nrof_folds: int) -> list[Bools]:
    """A mask [num_pairs] per fold: contiguous, the first ones longer by one where it is uneven."""
    masks = []
    for part in np.array_split(np.arange(num_pairs), nrof_folds):
        mask = np.zeros(num_pairs, bool)
        mask[part] = True
        masks.append(mask)
    return masks


def _squared_distances(unit: Floats) -> Floats:
    distances: Floats = np.square(unit[0::2] - unit[1::2]).sum(axis=1)
    return distances


def _count_below(values: Floats, thresholds: Floats) -> NDArray[np.int64]:
    return np.searchsorted(np.sort(values), thresholds, side="left")


def _accuracies(distances: Floats, same: Bools) -> Floats:
    """Share of right decisions at each of ACCURACY_THRESHOLDS."""
    accepted = _count_below(distances[same], ACCURACY_THRESHOLDS)
    wrongly_accepted = _count_below(distances[~same], ACCURACY_THRESHOLDS)
    right: Floats = (accepted + (~same).sum() - wrongly_accepted) / len(same)
    return right


def _project(unit: Floats, pairs: Bools, components: int) -> Floats:
    """`unit` [2P, d] on the principal components of the chosen pairs, unit length again."""
    fitted = unit[np.repeat(pairs, 2)]
    if components > min(fitted.shape):
        raise UserError(
            f"pca {components} is more than the {min(fitted.shape)} components there are"
        )
    mean = fitted.mean(axis=0)
    axes = np.linalg.svd(fitted - mean, full_matrices=False)[2][:components]
    return _unit((unit - mean) @ axes.T)
