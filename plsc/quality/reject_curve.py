"""An error-versus-reject curve: FNMR at a false match rate against the share rejected. numpy only.

Shares, rates and areas are from 0 to 1. FMR is the share of the impostor pairs (of two people) that
are accepted, FNMR that of the genuine pairs (of one person) that are refused.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from plsc.recognition.metrics.folds import Floats
from plsc.recognition.metrics.roc import far_name

REJECTS = np.arange(0, 0.98, 0.05)  # shares of the pairs: 0 to 0.95
PARTIAL = 0.2  # more than a fifth is seldom rejected in use
CLOSE = 1e-9  # shares that only rounding tells apart


@dataclass(frozen=True)
class RejectPoint:
    """The pairs and errors left of a set where a share of its pairs is rejected.

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
        """Return the share of the genuine pairs left that are refused."""
        return self.false_non_matches / self.genuine


@dataclass(frozen=True)
class CurveEnd:
    """The reason why a curve has no point at a share and beyond.

    Attributes:
        reject: the first share without a point.
        left: pairs that are left there, of the kind that is short.
        needed: how many it takes.
        kind: which are short, "impostor" or "genuine".
        fmr: the rate.

    """

    reject: float
    left: int
    needed: int
    kind: str
    fmr: float

    @property
    def reason(self) -> str:
        """Return in one line why the curve ends."""
        if self.kind == "genuine":
            return f"no genuine pair is left at {100 * self.reject:.0f} % rejected"
        where = f" left at {100 * self.reject:.0f} % rejected" if self.reject else ""
        left = "1 impostor pair" if self.left == 1 else f"{self.left} impostor pairs"
        return f"{left}{where}, FMR {far_name(self.fmr)} needs {self.needed}"


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

    def at(self, reject: float) -> RejectPoint | None:
        """Return the point at one of REJECTS; None where the curve has ended."""
        found = (point for point in self.points if abs(point.reject - reject) < CLOSE)
        return next(found, None)

    def area(self, upto: float = 1.0) -> Area | None:
        """Return the mean FNMR from 0 to the share `upto`, or to where the curve ends before.

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
        """Return FNMR at REJECTS if the errors at the full set's threshold were rejected first.

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
        """Return the curve as JSON has it; `partial` is where the partial area ends."""
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
