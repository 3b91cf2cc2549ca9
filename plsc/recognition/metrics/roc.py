"""ROC of pairs from their scores, and the thresholds that follow from it. numpy only.

A pair is accepted where its score is at or above the threshold; equal scores are accepted together,
so nothing depends on the order of the pairs. FAR is the share of impostor pairs (of two people)
accepted, TAR that of pairs of one person. Scores are cosines wherever a threshold is given as a
distance or an angle.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plsc.errors import UserError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
# far · impostors is to be the whole number it is on paper, where it is one.
ROUNDING = 1e-9
POINTS_PER_DECADE = 200  # of a curve that is drawn


def far_name(far: float) -> str:
    """Return the name of a false accept rate in keys and tables: `1e-3` for 0.001."""
    return np.format_float_scientific(far, trim="-", exp_digits=1)


@dataclass(frozen=True)
class Threshold:
    """A cosine, and what it is in other programs' units; accept at or above it."""

    cosine: float

    @property
    def squared_distance(self) -> float:
        """Squared Euclidean distance of unit vectors, 0 to 4; accept at or below it."""
        return 2 - 2 * self.cosine

    @property
    def angle(self) -> float:
        """Degrees between the vectors, 0 to 180; accept at or below it."""
        return math.degrees(math.acos(min(1.0, max(-1.0, self.cosine))))

    def to_dict(self) -> dict[str, float]:
        """Return the threshold as JSON has it, in all units."""
        return {
            "cosine": self.cosine,
            "squared_distance": self.squared_distance,
            "angle_degrees": self.angle,
        }


@dataclass(frozen=True)
class OperatingPoint:
    """The most that may be accepted at a false accept rate.

    A rate below one impostor pair of those there are is not resolved: only a threshold that accepts
    no impostor keeps it, which is the same for all lower rates, so its TAR would say nothing about
    the rate. One pair suffices (3000 pairs resolve 1e-3 with three), but k accepted pairs leave the
    rate uncertain by one part in the square root of k; so their number stands beside each figure.

    Attributes:
        far: the rate asked for.
        impostors: pairs of two people that there are.
        accepted: impostor pairs accepted, at most far · impostors; None where not resolved.
        tar: share of same pairs accepted; None where not resolved.
        threshold: the lowest score that keeps the rate; None where not resolved.

    """

    far: float
    impostors: int
    accepted: int | None = None
    tar: float | None = None
    threshold: Threshold | None = None

    @property
    def resolved(self) -> bool:
        """Tell whether the impostor pairs are enough for this rate."""
        return self.threshold is not None

    @property
    def needed(self) -> int:
        """Impostor pairs that the rate needs."""
        return math.ceil(1 / self.far * (1 - ROUNDING))

    def to_dict(self) -> dict[str, Any]:
        """Return the point as JSON has it; None for what is not resolved."""
        units = ("cosine", "squared_distance", "angle_degrees")
        return {
            "far": self.far,
            "resolved": self.resolved,
            "impostors": self.impostors,
            "accepted": self.accepted,
            "tar": self.tar,
            **(self.threshold.to_dict() if self.threshold else dict.fromkeys(units)),
        }


@dataclass(frozen=True)
class EqualErrorRate:
    """The point at which the share of impostor pairs accepted is that of same pairs refused.

    Both are interpolated between the two neighbouring points of the curve.
    """

    rate: float
    threshold: Threshold

    def to_dict(self) -> dict[str, float]:
        """Return the rate and its threshold as JSON has them."""
        return {"rate": self.rate, **self.threshold.to_dict()}


@dataclass(frozen=True, eq=False)
class RocCurve:
    """One point per distinct score, from accepting nobody to accepting everybody.

    Attributes:
        scores: [n] falling; a point accepts the pairs at or above its score. The first is just
            above all that occur.
        accepted_same: [n] pairs of one person accepted, 0 to all.
        accepted_impostors: [n] pairs of two people accepted, 0 to all.

    """

    scores: Floats
    accepted_same: Counts
    accepted_impostors: Counts

    @property
    def num_same(self) -> int:
        """Pairs of one person."""
        return int(self.accepted_same[-1])

    @property
    def num_impostors(self) -> int:
        """Pairs of two people."""
        return int(self.accepted_impostors[-1])

    @property
    def tar(self) -> Floats:
        """True accept rates [n], rising."""
        return self.accepted_same / self.num_same

    @property
    def far(self) -> Floats:
        """False accept rates [n], rising."""
        return self.accepted_impostors / self.num_impostors

    @cached_property
    def auc(self) -> float:
        """Area under the curve: how often a same pair scores above an impostor pair, ties half."""
        steps = np.diff(self.accepted_impostors)
        doubled = steps @ (self.accepted_same[1:] + self.accepted_same[:-1])
        return int(doubled) / (2 * self.num_same * self.num_impostors)

    @cached_property
    def eer(self) -> EqualErrorRate:
        """Return the equal error rate."""
        far, excess = self.far, self.far - (1 - self.tar)  # from -1 to 1, rising at every point
        after = int(np.argmax(excess >= 0))
        before = after - 1
        part = -excess[before] / (excess[after] - excess[before])
        rate = far[before] + part * (far[after] - far[before])
        score = self.scores[before] + part * (self.scores[after] - self.scores[before])
        return EqualErrorRate(float(rate), Threshold(float(score)))

    def at(self, far: float) -> OperatingPoint:
        """Return the largest set of pairs that keeps `far`, above 0 and at most 1.

        Conservative: of the impostor pairs never more than that share is accepted; where equal
        scores would step over it, none of them is. Nothing is interpolated: the threshold, applied
        to these scores, gives these very figures.
        """
        assert 0 < far <= 1, far
        allowed = math.floor(far * self.num_impostors * (1 + ROUNDING))
        if allowed < 1:
            return OperatingPoint(far, self.num_impostors)
        place = int(np.searchsorted(self.accepted_impostors, allowed, side="right")) - 1
        return OperatingPoint(
            far,
            self.num_impostors,
            accepted=int(self.accepted_impostors[place]),
            tar=int(self.accepted_same[place]) / self.num_same,
            threshold=Threshold(float(self.scores[place])),
        )

    def between(self, low: float, high: float) -> tuple[Floats, Floats]:
        """Return FARs evenly on a logarithmic axis, and the TAR reached without exceeding each.

        For drawing. It begins no lower than one impostor pair: below that the curve says nothing.
        """
        low = min(max(low, 1 / self.num_impostors), high)
        count = 1 + max(1, round(math.log10(high / low) * POINTS_PER_DECADE))
        far = np.geomspace(low, high, count)
        allowed = np.floor(far * self.num_impostors * (1 + ROUNDING))
        return far, self.tar[np.searchsorted(self.accepted_impostors, allowed, side="right") - 1]


def roc_curve(scores: ArrayLike, issame: ArrayLike) -> RocCurve:
    """Return the curve of pairs with these scores [P], of which `issame` [P] show one person.

    Raises:
        UserError: pairs of one kind only, or scores that are not finite.

    """
    values, same = np.asarray(scores), np.asarray(issame, bool)
    if values.dtype != np.float32:  # which float64 holds exactly, but takes twice the time to sort
        values = values.astype(np.float64)
    assert values.ndim == 1 and values.shape == same.shape, (values.shape, same.shape)
    if same.all() or not same.any():
        raise UserError(
            f"a ROC needs pairs of both kinds, got {same.sum()} of one person "
            f"and {(~same).sum()} of two"
        )
    bad = ~np.isfinite(values)
    if bad.any():
        raise UserError(f"a ROC needs finite scores: {bad.sum()} of {len(values)} are not")
    # Sort the scores alone: the order of millions of pairs takes ten times as long to find.
    falling = np.sort(values)[::-1]
    last_of_equals = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    distinct = falling[last_of_equals].astype(np.float64)
    points_of_same = np.searchsorted(-distinct, -np.sort(values[same]).astype(np.float64))
    accepted_same = np.cumsum(np.bincount(points_of_same, minlength=len(distinct)))
    return RocCurve(
        scores=np.append(np.nextafter(distinct[0], np.inf), distinct),
        accepted_same=np.append(0, accepted_same),
        accepted_impostors=np.append(0, last_of_equals + 1 - accepted_same),
    )
