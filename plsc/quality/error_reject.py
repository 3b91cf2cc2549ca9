"""Error-versus-reject curves: the gain from rejecting the pairs of worst quality. numpy only.

Grother & Tabassi, "Performance of Biometric Quality Measures", TPAMI 2007; the protocol is that of
MagFace's quality assessment (arXiv:2103.06627). Distances are angles in half turns. A pair is
accepted if its distance is strictly below the threshold.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plsc.errors import UserError
from plsc.quality.reject_curve import REJECTS, CurveEnd, RejectCurve, RejectPoint
from plsc.recognition.metrics.folds import Bools, Floats

RELATIVE_ROUNDING = 1e-5  # lengths of normalised float32 vectors differ by less


def error_reject_curve(
    distances: ArrayLike, issame: ArrayLike, quality: ArrayLike, *, fmr: float, fixed: bool = False
) -> RejectCurve:
    """Return the error curve of pairs that are rejected in order of rising quality.

    Pairs of equal quality are rejected in their order in the set. Their order changes the curve,
    and a stable sort gives the same curve on every machine.

    Args:
        distances: [P], distances between the two embeddings as `angular.angles` computes them.
        issame: bool [P], true where a pair shows one person.
        quality: [P], quality of each pair as `pair_quality` computes it; low ones go first.
        fmr: false match rate, a power of ten, at most 1e-1.
        fixed: keep the threshold of the full set; otherwise estimate it again at each share.

    Raises:
        UserError: there are pairs of one kind only, the qualities are equal or not finite, or the
            rate is not a power of ten.

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
            kind, count = ("impostor", len(impostors)) if threshold is None else ("genuine", 0)
            needed = impostors_needed(fmr) if threshold is None else 1
            end = CurveEnd(reject, count, needed, kind, fmr)
            return RejectCurve(fmr, fixed, tuple(points), end)
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
    """Return the quality [P] of pairs: the worse quality of their two images [2P]."""
    worse: Floats = np.asarray(quality, np.float64).reshape(-1, 2).min(axis=1)
    return worse


def threshold_at(impostors: Floats, num_decades: int) -> float | None:
    """Return the distance below which a share 10^-num_decades of `impostors` [n], ascending, lies.

    Start at the index of the farthest impostor and divide it by ten for each decade. If the index
    is 0 before the last decade, there are too few impostors; return None.
    """
    index = len(impostors) - 1
    for _ in range(num_decades):
        if index <= 0:
            return None
        index //= 10
    return float(impostors[index])


def impostors_needed(fmr: float) -> int:
    """Return the number of impostor pairs that a threshold at `fmr` needs: 101 at 1e-3."""
    return 10 ** (decades(fmr) - 1) + 1


def decades(fmr: float) -> int:
    """Return the negated exponent of a rate that is a power of ten: 3 for 1e-3.

    Raises:
        UserError: the rate is not a power of ten from 1e-1 to 1e-9.

    """
    exponent = round(-math.log10(fmr)) if 0 < fmr < 1 else 0
    if not 1 <= exponent <= 9 or not math.isclose(fmr, 10**-exponent):
        raise UserError(f"a false match rate must be a power of ten from 1e-1 to 1e-9, got {fmr:g}")
    return exponent


def check_both_kinds(issame: NDArray[np.bool_] | Sequence[bool]) -> None:
    """Refuse pairs [P] of one kind only.

    Raises:
        UserError: one kind is missing; the message counts both.

    """
    same: Bools = np.asarray(issame, bool)
    if not len(same) or same.all() or not same.any():
        raise UserError(
            f"an error-versus-reject curve needs pairs of both kinds, got {same.sum()} of one "
            f"person and {(~same).sum()} of two"
        )


def check_differs(quality: Floats) -> None:
    """Refuse qualities [n] that cannot rank pairs.

    Raises:
        UserError: they are not finite, or equal except for rounding.

    """
    bad = ~np.isfinite(quality)
    if bad.any():
        raise UserError(f"quality must be finite: {bad.sum()} of {len(quality)} values are not")
    if np.ptp(quality) <= RELATIVE_ROUNDING * np.abs(quality).max():
        raise UserError(
            f"quality is {quality[0]:g} for each of {len(quality)}: equal values do not say which "
            "to reject"
        )
