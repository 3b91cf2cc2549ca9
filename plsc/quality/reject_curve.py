"""An error-versus-reject curve: FNMR at a false match rate against the share rejected. numpy only.

Shares, rates and areas range from 0 to 1. FMR is the accepted share of impostor pairs (two people).
FNMR is the rejected share of genuine pairs (one person).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from plsc.recognition.metrics.folds import Floats
from plsc.recognition.metrics.roc import far_name

REJECTS = np.arange(0, 0.98, 0.05)  # shares of the pairs: 0 to 0.95
PARTIAL = 0.2  # applications seldom reject more than a fifth
CLOSE = 1e-9  # shares that differ by less are equal


@dataclass(frozen=True)
class RejectPoint:
    """The remaining pairs and errors of a set after a share of its pairs was rejected.

    Attributes:
        reject: the requested share, 0 to 1.
        rejected: number of pairs rejected, int(reject · pairs).
        genuine: number of remaining genuine pairs, at least one.
        impostors: number of remaining impostor pairs.
        threshold: a distance; pairs below it are accepted.
        false_non_matches: number of remaining genuine pairs at or above the threshold.
        false_matches: number of remaining impostor pairs below the threshold.
        resolved: true if the threshold rests on at least 1/FMR impostor pairs. With fewer it is
            about the distance of the nearest impostor and depends on that one pair.

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
        """Return the false non-match rate of the remaining genuine pairs."""
        return self.false_non_matches / self.genuine


@dataclass(frozen=True)
class CurveEnd:
    """The reason why a curve has no points from some share on.

    Attributes:
        reject: the first share without a point.
        remaining: number of remaining pairs of the kind that is short.
        needed: number of pairs of that kind that a point needs.
        kind: the kind that is short, "impostor" or "genuine".
        fmr: the false match rate.

    """

    reject: float
    remaining: int
    needed: int
    kind: str
    fmr: float

    @property
    def reason(self) -> str:
        """Return the reason in one line."""
        if self.kind == "genuine":
            return f"no genuine pair is left at {100 * self.reject:.0f} % rejected"
        where = f" left at {100 * self.reject:.0f} % rejected" if self.reject else ""
        count = "1 impostor pair" if self.remaining == 1 else f"{self.remaining} impostor pairs"
        return f"{count}{where}, FMR {far_name(self.fmr)} needs {self.needed}"


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
        fmr: the false match rate.
        fixed: true if the threshold of the full set is kept; otherwise each share has its own.
        points: points at REJECTS from 0 on; fewer if the curve ends early.
        end: the reason for an early end; None if the curve reaches the last of REJECTS.

    """

    fmr: float
    fixed: bool
    points: tuple[RejectPoint, ...]
    end: CurveEnd | None

    def at(self, reject: float) -> RejectPoint | None:
        """Return the point at one of REJECTS; None if the curve has ended before it."""
        matching = (point for point in self.points if abs(point.reject - reject) < CLOSE)
        return next(matching, None)

    def area(self, upto: float = 1.0) -> Area | None:
        """Return the mean FNMR from 0 to the share `upto`, or to an earlier end of the curve.

        It is computed by the trapezoid rule over the width w:
        1/w · sum of (u[i+1] - u[i]) · (FNMR[i] + FNMR[i+1]) / 2. The curve is a straight line
        between two points. Return None for a curve of less than two points.
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
        """Return the FNMR at REJECTS of a quality that rejects the errors first.

        No quality can do better while the threshold of the full set is kept. The array is empty if
        the curve has no point.
        """
        if not self.points:
            return np.empty(0)
        first = self.points[0]
        rejected = (REJECTS * (first.genuine + first.impostors)).astype(int)
        errors = np.maximum(first.false_non_matches - rejected, 0)
        fnmrs: Floats = errors / np.maximum(first.genuine - rejected, 1)
        return fnmrs

    def to_dict(self, *, partial: float = PARTIAL) -> dict[str, Any]:
        """Return the curve as a dictionary for JSON; `partial` ends the partial area."""
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
