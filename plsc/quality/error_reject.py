"""Error-versus-reject curves: what rejecting the pairs of worst quality gains. numpy only.

Grother & Tabassi, "Performance of Biometric Quality Measures", TPAMI 2007; the protocol is that of
MagFace's quality assessment (arXiv:2103.06627). Distances are angles in half turns; a pair is
accepted strictly below a threshold.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plsc.errors import UserError
from plsc.quality.reject_curve import REJECTS, CurveEnd, RejectCurve, RejectPoint
from plsc.recognition.metrics.folds import Bools, Floats

ALIKE = 1e-5  # relative: lengths of float32 vectors that were normalised differ by less


def error_reject_curve(
    distances: ArrayLike, issame: ArrayLike, quality: ArrayLike, *, fmr: float, fixed: bool = False
) -> RejectCurve:
    """Return the curve of pairs that are rejected by rising quality.

    Pairs of equal quality are rejected in their order in the set: which of them come first changes
    the curve, and a stable sort makes it the same everywhere.

    Args:
        distances: [P] between the two embeddings, as `angular.angles` has them.
        issame: [P] whether a pair shows one person.
        quality: [P] of each pair, as `pair_quality` has it; the lowest are rejected first.
        fmr: false match rate, a power of ten from 1e-1 down.
        fixed: keep the threshold of the full set; else it is estimated anew on what is left.

    Raises:
        UserError: pairs of one kind only, qualities that are all the same or not finite, or a rate
            that is no power of ten.

    """
    near, same = np.asarray(distances, np.float64), np.asarray(issame, bool)
    values = np.asarray(quality, np.float64)
    assert near.ndim == 1 and near.shape == same.shape == values.shape
    num_decades = decades(fmr)
    check_both_kinds(same)
    check_differs(values)
    order = np.argsort(values, kind="stable")
    near, same = near[order], same[order]
    on_full_set = threshold_at(np.sort(near[~same]), num_decades)
    points: list[RejectPoint] = []
    for reject in REJECTS.tolist():
        rejected = int(reject * len(near))
        genuine, impostors = near[rejected:][same[rejected:]], near[rejected:][~same[rejected:]]
        threshold = on_full_set if fixed else threshold_at(np.sort(impostors), num_decades)
        if threshold is None or not len(genuine):
            kind, left = ("impostor", len(impostors)) if threshold is None else ("genuine", 0)
            needed = impostors_needed(fmr) if threshold is None else 1
            return RejectCurve(fmr, fixed, tuple(points), CurveEnd(reject, left, needed, kind, fmr))
        measured_on = int((~same).sum()) if fixed else len(impostors)
        points.append(
            RejectPoint(
                reject=round(reject, 9),
                rejected=rejected,
                genuine=len(genuine),
                impostors=len(impostors),
                threshold=threshold,
                false_non_matches=int((genuine >= threshold).sum()),
                false_matches=int((impostors < threshold).sum()),
                resolved=measured_on >= 10**num_decades,
            )
        )
    return RejectCurve(fmr, fixed, tuple(points), None)


def pair_quality(quality: ArrayLike) -> Floats:
    """Return quality [P] of pairs from that of their images [2P]: the worse of the two."""
    worse: Floats = np.asarray(quality, np.float64).reshape(-1, 2).min(axis=1)
    return worse


def threshold_at(impostors: Floats, num_decades: int) -> float | None:
    """Return the distance below which 10^-num_decades of `impostors` [n], ascending, are.

    A walk from the farthest impostor towards the nearest: each decade divides the place by ten,
    and from place 0 no step leads on: then there are too few, and the distance is None.
    """
    place = len(impostors) - 1
    for _ in range(num_decades):
        if place <= 0:
            return None
        place //= 10
    return float(impostors[place])


def impostors_needed(fmr: float) -> int:
    """Return how many impostor pairs a threshold at `fmr` takes: 101 at 1e-3."""
    return 10 ** (decades(fmr) - 1) + 1


def decades(fmr: float) -> int:
    """Return the power of ten that a rate is: 3 for 1e-3.

    Raises:
        UserError: no power of ten, or none from 1e-1 to 1e-9.

    """
    found = round(-math.log10(fmr)) if 0 < fmr < 1 else 0
    if not 1 <= found <= 9 or not math.isclose(fmr, 10**-found):
        raise UserError(f"a false match rate here is a power of ten from 1e-1 to 1e-9, got {fmr:g}")
    return found


def check_both_kinds(issame: NDArray[np.bool_] | Sequence[bool]) -> None:
    """Refuse pairs [P] of one kind.

    Raises:
        UserError: says how many there are of each.

    """
    same: Bools = np.asarray(issame, bool)
    if not len(same) or same.all() or not same.any():
        raise UserError(
            f"an error-versus-reject curve needs pairs of both kinds, got {same.sum()} of one "
            f"person and {(~same).sum()} of two"
        )


def check_differs(quality: Floats) -> None:
    """Refuse qualities [n] that rank nothing.

    Raises:
        UserError: they are not finite, or all the same but for rounding.

    """
    bad = ~np.isfinite(quality)
    if bad.any():
        raise UserError(f"quality must be finite: {bad.sum()} of {len(quality)} values are not")
    if np.ptp(quality) <= ALIKE * np.abs(quality).max():
        raise UserError(
            f"quality is all the same, {quality[0]:g} for each of {len(quality)}: it says nothing "
            "about which to reject"
        )
