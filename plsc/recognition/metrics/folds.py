"""1:1 verification over folds by the LFW protocol "unrestricted with labelled outside data".

Huang et al., "Labeled Faces in the Wild", UMass Amherst TR 07-49; thresholds and folds are
those of InsightFace and PLSC. numpy only.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plsc.errors import Unmeasurable, UserError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ProtocolName = Literal["insightface", "magface"]

# Distances in the unit of the protocol; a pair is "same" strictly below a threshold.
ACCURACY_THRESHOLDS = np.arange(0, 4, 0.01)


class CollapsedEmbeddings(Unmeasurable):
    """The embeddings do not tell images apart, so their accuracy would mean nothing."""


@dataclass(frozen=True)
class Accuracy:
    """The share of correct decisions over folds.

    Attributes:
        mean: mean over the folds.
        std: population standard deviation over the folds.
        folds: accuracy of each fold, at the threshold that is best on the others.
        threshold: the smallest threshold that is best on all pairs, in the unit of `protocol`.
        cosine: the threshold as a cosine.
        protocol: `insightface`: thresholds are squared distances of unit vectors, 0 to 4.
            `magface`: they are angles between embeddings less their mean, in half turns, 0 to 1.

    """

    mean: float
    std: float
    folds: tuple[float, ...]
    threshold: float
    cosine: float
    protocol: ProtocolName

    def to_dict(self) -> dict[str, object]:
        """Return the accuracy as a dictionary for JSON."""
        return {**asdict(self), "folds": list(self.folds)}


def verification_accuracy(
    embeddings: ArrayLike, issame: ArrayLike, *, nrof_folds: int = 10, pca: int = 0
) -> Accuracy:
    """Return the accuracy on each fold at the threshold that is best on the other folds.

    Args:
        embeddings: [2P, d], any length; rows 2i and 2i+1 are pair i.
        issame: bool [P], true where a pair shows one person.
        nrof_folds: number of contiguous folds.
        pca: number of principal components to project on, fitted per fold; 0 is off.

    Raises:
        CollapsedEmbeddings: the embeddings are not finite, or alike for all images.
        UserError: there are fewer pairs than folds, pairs of one kind only, or `pca` asks for more
            components than `embeddings` have.

    """
    unit, same = unit_pairs(embeddings, issame, nrof_folds)
    distances = squared_distances(unit)

    def fitted(pairs: Bools) -> Floats:
        return squared_distances(_project(unit, pairs, pca)) if pca else distances

    # |a - b|^2 = 2 - 2 cos for unit vectors
    return decide_folds(fitted, same, nrof_folds, lambda square: 1 - square / 2, "insightface")


def decide_folds(
    fitted: Callable[[Bools], Floats],
    same: Bools,
    nrof_folds: int,
    cosine: Callable[[float], float],
    protocol: ProtocolName,
) -> Accuracy:
    """Return the accuracy over folds, each decided at the threshold that is best on the others.

    Args:
        fitted: a function from a mask [P] of the pairs to learn from to the distances [P] of all.
        same: bool [P], true where a pair shows one person.
        nrof_folds: number of contiguous folds.
        cosine: a function that converts a threshold to a cosine.
        protocol: the protocol that defines the distances.

    """
    folds = []
    for test in fold_masks(len(same), nrof_folds):
        distances = fitted(~test)
        decided = distances[test] < _best_threshold(distances[~test], same[~test])
        folds.append(float((decided == same[test]).mean()))
    threshold = _best_threshold(fitted(np.ones_like(same)), same)
    mean, std = float(np.mean(folds)), float(np.std(folds))
    return Accuracy(mean, std, tuple(folds), threshold, cosine(threshold), protocol)


def cosines(embeddings: ArrayLike) -> Floats:
    """Return the cosine of each pair [P], -1 to 1, from embeddings [2P, d] of any length.

    The cosine is computed from the squared distance, so that every pair of equal images scores
    exactly 1. It is 0 where an embedding is zero.
    """
    unit = _unit(np.asarray(embeddings, np.float64))
    lengths = np.asarray(unit.any(axis=1), np.float64)
    values: Floats = (lengths[0::2] + lengths[1::2] - squared_distances(unit)) / 2
    return values.clip(-1, 1)


def check_pairs(issame: ArrayLike, nrof_folds: int) -> None:
    """Check that pairs with these labels [P] can be evaluated in folds.

    Raises:
        UserError: there are fewer pairs than folds, or pairs of one kind only.

    """
    same = np.asarray(issame, bool)
    if len(same) < nrof_folds:
        raise UserError(f"nrof_folds {nrof_folds} needs as many pairs, got {len(same)}")
    if same.all() or not same.any():
        raise UserError(
            f"verification needs pairs of both kinds, got {same.sum()} of one person "
            f"and {(~same).sum()} of two"
        )


def unit_pairs(embeddings: ArrayLike, issame: ArrayLike, nrof_folds: int) -> tuple[Floats, Bools]:
    """Check embeddings [2P, d] and `issame` [P]; return unit-length embeddings and labels.

    Raises:
        CollapsedEmbeddings: the embeddings are not finite, or alike for all images.
        UserError: there are fewer pairs than folds, or pairs of one kind only.

    """
    rows, same = np.asarray(embeddings, np.float64), np.asarray(issame, bool)
    assert rows.ndim == 2 and len(rows) == 2 * len(same), (rows.shape, same.shape)
    check_pairs(same, nrof_folds)
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise CollapsedEmbeddings(
            f"embeddings have collapsed: {bad.sum()} of {len(rows)} hold NaN or infinity"
        )
    unit = _unit(rows)
    distances = squared_distances(unit)
    # Below the first threshold InsightFace's protocol calls every pair the same: it would report
    # the share of same pairs, 0.5, as if the network had been measured.
    limit = float(ACCURACY_THRESHOLDS[1])
    if np.quantile(distances, 0.99) < limit:
        raise CollapsedEmbeddings(
            f"embeddings have collapsed: images look alike, the squared distance of 99 % of the "
            f"pairs is below {limit:g} (median {np.median(distances):.2g})"
        )
    return unit, same


def _unit(rows: Floats) -> Floats:
    """Scale rows [n, d] to length 1; rows of zeros stay zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = rows / np.where(lengths > 0, lengths, 1)
    return unit


def fold_masks(num_pairs: int, nrof_folds: int) -> list[Bools]:
    """Return a mask [num_pairs] per contiguous fold; the first folds take the remainder."""
    masks = []
    for part in np.array_split(np.arange(num_pairs), nrof_folds):
        mask = np.zeros(num_pairs, bool)
        mask[part] = True
        masks.append(mask)
    return masks


def squared_distances(unit: Floats) -> Floats:
    """Return the squared distance of each pair [P], rows 2i and 2i+1 of `unit` [2P, d]."""
    distances: Floats = np.square(unit[0::2] - unit[1::2]).sum(axis=1)
    return distances


def count_below(values: Floats, thresholds: Floats) -> NDArray[np.int64]:
    """Return the number of `values` [n] below each threshold."""
    return np.searchsorted(np.sort(values), thresholds, side="left")


def _best_threshold(distances: Floats, same: Bools) -> float:
    """Return the lowest of ACCURACY_THRESHOLDS with the most correct decisions."""
    accepted = count_below(distances[same], ACCURACY_THRESHOLDS)
    wrongly_accepted = count_below(distances[~same], ACCURACY_THRESHOLDS)
    return float(ACCURACY_THRESHOLDS[(accepted - wrongly_accepted).argmax()])


def _project(unit: Floats, pairs: Bools, components: int) -> Floats:
    """Project `unit` [2P, d] on the principal components of `pairs`; return unit vectors."""
    fitted = unit[np.repeat(pairs, 2)]
    if components > min(fitted.shape):
        raise UserError(
            f"pca {components} is more than the {min(fitted.shape)} components of the embeddings"
        )
    mean = fitted.mean(axis=0)
    axes = np.linalg.svd(fitted - mean, full_matrices=False)[2][:components]
    return _unit((unit - mean) @ axes.T)
