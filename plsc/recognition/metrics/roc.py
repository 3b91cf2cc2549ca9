"""The ROC curve of scored pairs, and thresholds from it. numpy only.

A pair is accepted if its score is at or above the threshold. Equal scores are accepted together, so
nothing depends on the order of the pairs. FAR is the accepted share of impostor pairs (two people);
TAR is the accepted share of genuine pairs (one person). Scores must be cosines wherever a threshold
is converted to a distance or an angle.
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
# Keeps far · impostors at the whole number that it is on paper, despite binary rounding.
ROUNDING = 1e-9
POINTS_PER_DECADE = 200  # in a plotted curve


def far_name(far: float) -> str:
    """Return the name of a false accept rate in keys and tables: `1e-3` for 0.001."""
    return np.format_float_scientific(far, trim="-", exp_digits=1)


@dataclass(frozen=True)
class Threshold:
    """A cosine threshold, also in the units of other programs; accept at or above it."""

    cosine: float

    @property
    def squared_distance(self) -> float:
        """Return the squared Euclidean distance of unit vectors, 0 to 4; accept at or below it."""
        return 2 - 2 * self.cosine

    @property
    def angle(self) -> float:
        """Return the angle between the vectors in degrees, 0 to 180; accept at or below it."""
        return math.degrees(math.acos(min(1.0, max(-1.0, self.cosine))))

    def to_dict(self) -> dict[str, float]:
        """Return the threshold in all units as a dictionary for JSON."""
        return {
            "cosine": self.cosine,
            "squared_distance": self.squared_distance,
            "angle_degrees": self.angle,
        }


@dataclass(frozen=True)
class OperatingPoint:
    """The largest set of accepted pairs that keeps a false accept rate.

    A rate that allows less than one impostor pair is not resolved. Only a threshold that accepts no
    impostor keeps such a rate, and that threshold is the same for all lower rates, so its TAR would
    say nothing about the rate. One pair is enough (3000 pairs resolve 1e-3 with three), but with k
    accepted pairs the relative uncertainty of the rate is 1/sqrt(k). Therefore the number of pairs
    stands beside each figure.

    Attributes:
        far: the requested rate.
        impostors: total number of impostor pairs.
        accepted: accepted impostor pairs, at most far · impostors; None if not resolved.
        tar: accepted share of genuine pairs; None if not resolved.
        threshold: the lowest score that keeps the rate; None if not resolved.

    """

    far: float
    impostors: int
    accepted: int | None = None
    tar: float | None = None
    threshold: Threshold | None = None

    @property
    def resolved(self) -> bool:
        """Return true if the impostor pairs suffice for this rate."""
        return self.threshold is not None

    @property
    def needed(self) -> int:
        """Return the number of impostor pairs that the rate needs."""
        return math.ceil(1 / self.far * (1 - ROUNDING))

    def to_dict(self) -> dict[str, Any]:
        """Return the point as a dictionary for JSON, with None for what is not resolved."""
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
    """The point at which the false accept rate equals the false reject rate.

    Both are interpolated between the two neighbouring points of the curve.
    """

    rate: float
    threshold: Threshold

    def to_dict(self) -> dict[str, float]:
        """Return the rate and its threshold as a dictionary for JSON."""
        return {"rate": self.rate, **self.threshold.to_dict()}


@dataclass(frozen=True, eq=False)
class RocCurve:
    """A ROC curve: one point per distinct score, from accepting nobody to accepting everybody.

    Attributes:
        scores: [n], descending; a point accepts the pairs at or above its score. The first score
            is just above every score that occurs.
        accepted_same: [n], number of genuine pairs accepted, from 0 to all.
        accepted_impostors: [n], number of impostor pairs accepted, from 0 to all.

    """

    scores: Floats
    accepted_same: Counts
    accepted_impostors: Counts

    @property
    def num_same(self) -> int:
        """Return the number of genuine pairs."""
        return int(self.accepted_same[-1])

    @property
    def num_impostors(self) -> int:
        """Return the number of impostor pairs."""
        return int(self.accepted_impostors[-1])

    @property
    def tar(self) -> Floats:
        """Return the true accept rates [n], ascending."""
        return self.accepted_same / self.num_same

    @property
    def far(self) -> Floats:
        """Return the false accept rates [n], ascending."""
        return self.accepted_impostors / self.num_impostors

    @cached_property
    def auc(self) -> float:
        """Return the area under the curve.

        It is the probability that a genuine pair scores above an impostor pair; a tie counts half.
        """
        steps = np.diff(self.accepted_impostors)
        doubled = steps @ (self.accepted_same[1:] + self.accepted_same[:-1])
        return int(doubled) / (2 * self.num_same * self.num_impostors)

    @cached_property
    def eer(self) -> EqualErrorRate:
        """Return the equal error rate."""
        far, excess = self.far, self.far - (1 - self.tar)  # from -1 to 1, strictly ascending
        after = int(np.argmax(excess >= 0))
        before = after - 1
        part = -excess[before] / (excess[after] - excess[before])
        rate = far[before] + part * (far[after] - far[before])
        score = self.scores[before] + part * (self.scores[after] - self.scores[before])
        return EqualErrorRate(float(rate), Threshold(float(score)))

    def at(self, far: float) -> OperatingPoint:
        """Return the operating point that accepts most pairs within `far`, above 0 and at most 1.

        The point is conservative: it never accepts more than this share of the impostor pairs. If
        several pairs have equal scores and would exceed it together, none of them is accepted.
        Nothing is interpolated: applied to these scores, the threshold gives exactly these figures.
        """
        assert 0 < far <= 1, far
        allowed = math.floor(far * self.num_impostors * (1 + ROUNDING))
        if allowed < 1:
            return OperatingPoint(far, self.num_impostors)
        index = int(np.searchsorted(self.accepted_impostors, allowed, side="right")) - 1
        return OperatingPoint(
            far,
            self.num_impostors,
            accepted=int(self.accepted_impostors[index]),
            tar=int(self.accepted_same[index]) / self.num_same,
            threshold=Threshold(float(self.scores[index])),
        )

    def between(self, low: float, high: float) -> tuple[Floats, Floats]:
        """Return FARs evenly spaced on a logarithmic axis, and the TAR at each, for plotting.

        The range begins no lower than one impostor pair, below which the curve is not resolved.
        """
        low = min(max(low, 1 / self.num_impostors), high)
        count = 1 + max(1, round(math.log10(high / low) * POINTS_PER_DECADE))
        far = np.geomspace(low, high, count)
        allowed = np.floor(far * self.num_impostors * (1 + ROUNDING))
        return far, self.tar[np.searchsorted(self.accepted_impostors, allowed, side="right") - 1]


def roc_curve(scores: ArrayLike, issame: ArrayLike) -> RocCurve:
    """Return the ROC curve of pairs with `scores` [P]; `issame` [P] marks the genuine pairs.

    Raises:
        UserError: there are pairs of one kind only, or scores that are not finite.

    """
    values, same = np.asarray(scores), np.asarray(issame, bool)
    if values.dtype != np.float32:  # float64 holds float32 exactly, but takes twice as long to sort
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
    # Sort the scores alone: an argsort of millions of pairs takes ten times as long.
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
