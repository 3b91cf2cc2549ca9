"""Error-versus-reject curves: what rejecting the pairs of worst quality gains. numpy only.

Grother & Tabassi, "Performance of Biometric Quality Measures", TPAMI 2007; the protocol is that of
MagFace's quality assessment (arXiv:2103.06627). Distances are angles as shares of half a turn; a
pair is accepted strictly below a threshold. FMR is the share of impostor pairs (of two people)
accepted, FNMR that of genuine pairs (of one person) refused.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plsc.errors import UserError
from plsc.metric.folds import Bools, Floats, cosines
from plsc.metric.roc import far_name

REJECTS = np.arange(0, 0.98, 0.05)  # shares of the pairs: 0 to 0.95
PARTIAL = 0.2  # more than a fifth is seldom rejected in use
CLOSE = 1e-9  # shares that only rounding tells apart
ALIKE = 1e-5  # relative: lengths of float32 vectors that were normalised differ by less


@dataclass(frozen=True)
class RejectPoint:
    """What is left of a set where a share of its pairs is rejected.

    Attributes:
        reject: the share asked for, 0 to 1.
        rejected: pairs dropped, int(reject · pairs).
        genuine: pairs of one person that are left, at least one.
        impostors: pairs of two people that are left.
        threshold: distance; accept below it.
        false_non_matches: genuine pairs left that are refused.
        false_matches: impostor pairs left that are accepted.
        resolved: whether the threshold rests on at least 1/FMR impostor pairs. With fewer it is
            the distance of the nearest impostor or so, and rests on that one pair.

    """

    reject: float
    rejected: int
    genuine: int
    impostors: int
    threshold: float
    false_non_matches: int
    false_matches: int
    resolved: bool

    @property
    def fnmr(self) -> float:
        """Share of the genuine pairs left that are refused."""
        return self.false_non_matches / self.genuine


@dataclass(frozen=True)
class CurveEnd:
    """Why a curve has no point at a share and beyond.

    Attributes:
        reject: the first share without a point.
        left: pairs that are left there, of the kind that is short.
        needed: how many it takes.
        kind: "impostor" or "genuine".
        fmr: the rate.

    """

    reject: float
    left: int
    needed: int
    kind: str
    fmr: float

    @property
    def reason(self) -> str:
        """In one line."""
        at = f"at {100 * self.reject:.0f} % rejected "
        if self.kind == "genuine":
            return at + "no genuine pair is left"
        return at + (
            f"{self.left} impostor pairs are left, FMR {far_name(self.fmr)} needs {self.needed}"
        )


@dataclass(frozen=True)
class Area:
    """Mean FNMR between two shares rejected: the area under a curve over its width."""

    mean_fnmr: float
    start: float
    stop: float


@dataclass(frozen=True)
class RejectCurve:
    """FNMR at a false match rate against the share of pairs rejected.

    Attributes:
        fmr: the rate.
        fixed: whether the threshold of the full set is kept; else each share has its own.
        points: at REJECTS from 0 on; fewer where the curve ends early.
        end: why it does; None if it reaches the last of REJECTS.

    """

    fmr: float
    fixed: bool
    points: tuple[RejectPoint, ...]
    end: CurveEnd | None

    def fnmr_at(self, reject: float) -> float | None:
        """FNMR at one of REJECTS; None where the curve has ended."""
        found = (point.fnmr for point in self.points if abs(point.reject - reject) < CLOSE)
        return next(found, None)

    def area(self, upto: float = 1.0) -> Area | None:
        """Mean FNMR from 0 to the share `upto`, or to where the curve ends before.

        The trapezoid rule: 1/w · sum of (u[i+1] - u[i]) · (FNMR[i] + FNMR[i+1]) / 2 over the width
        w; between two points the curve is a straight line. None of a curve of no width.
        """
        assert upto > 0, upto
        if len(self.points) < 2:
            return None
        rejects = np.array([point.reject for point in self.points])
        fnmrs = np.array([point.fnmr for point in self.points])
        stop = min(upto, float(rejects[-1]))
        at = np.append(rejects[rejects < stop], stop)
        values = np.interp(at, rejects, fnmrs)
        total = float((np.diff(at) * (values[1:] + values[:-1]) / 2).sum())
        return Area(total / stop, 0.0, stop)

    def perfect(self) -> Floats:
        """FNMR at REJECTS if those rejected first were the errors at the full set's threshold.

        The least that any quality can reach while that threshold is kept. Empty without a point.
        """
        if not self.points:
            return np.empty(0)
        first = self.points[0]
        rejected = (REJECTS * (first.genuine + first.impostors)).astype(int)
        errors = np.maximum(first.false_non_matches - rejected, 0)
        left: Floats = errors / np.maximum(first.genuine - rejected, 1)
        return left

    def to_dict(self, *, partial: float = PARTIAL) -> dict[str, Any]:
        """As JSON has it; `partial` is where the partial area ends."""
        whole, part = self.area(), self.area(partial)
        return {
            "fmr": self.fmr,
            "threshold": "fixed" if self.fixed else "reestimated",
            "points": [asdict(point) | {"fnmr": point.fnmr} for point in self.points],
            "ended": self.end and self.end.reason,
            "area": whole and asdict(whole),
            "partial_area": part and asdict(part),
            "perfect": self.perfect().tolist(),
        }


def error_reject_curve(
    distances: ArrayLike, issame: ArrayLike, quality: ArrayLike, *, fmr: float, fixed: bool = False
) -> RejectCurve:
    """The curve of pairs that are rejected by rising quality.

    Pairs of equal quality are rejected in their order in the set: which of them come first changes
    the curve, and a stable sort makes it the same everywhere.

    Args:
        distances: [P] between the two embeddings, as `angular_distances` has them.
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


def angular_distances(embeddings: ArrayLike) -> Floats:
    """Angles [P] between the two embeddings of pairs as shares of half a turn, 0 to 1.

    Args:
        embeddings: [2P, d] of any length; rows 2i and 2i+1 are pair i. Zero is at 0.5 to all.

    """
    angles: Floats = np.arccos(cosines(embeddings)) / np.pi
    return angles


def pair_quality(quality: ArrayLike) -> Floats:
    """Quality [P] of pairs from that of their images [2P]: the worse of the two."""
    worse: Floats = np.asarray(quality, np.float64).reshape(-1, 2).min(axis=1)
    return worse


def threshold_at(impostors: Floats, num_decades: int) -> float | None:
    """The distance below which 10^-num_decades of `impostors` [n], ascending, are; None if too few.

    A walk from the farthest impostor towards the nearest: each decade divides the place by ten,
    and from place 0 no step leads on.
    """
    place = len(impostors) - 1
    for _ in range(num_decades):
        if place <= 0:
            return None
        place //= 10
    return float(impostors[place])


def impostors_needed(fmr: float) -> int:
    """Impostor pairs that a threshold at `fmr` takes: 101 at 1e-3."""
    return 10 ** (decades(fmr) - 1) + 1


def decades(fmr: float) -> int:
    """3 for 1e-3.

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
