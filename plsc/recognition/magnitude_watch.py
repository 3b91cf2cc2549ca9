"""Warn where the lengths of features cannot learn what MagFace wants them to."""

import math
from collections.abc import Callable, Mapping, Sequence

from plsc.engine.log import RunLog
from plsc.engine.training_task import StepReport
from plsc.recognition.losses.magface import MagnitudeMargin
from plsc.recognition.losses.margin import Margin

STEPS = 20  # whose statistics are averaged before a judgement: a single batch varies too much
OUTSIDE_SHARE = 0.9  # warn if this share of samples is outside [l_a, u_a] and has no gradient
ALIKE_SPREAD = 0.01  # warn if 5th and 95th percentile are closer than this share of the median
LEAST_MAGNITUDE = 1e-3  # assumed for dead features of length 0, as l_a must be positive
# A suggested range: l_a is LOW_FACTOR times the 5th percentile; u_a is HIGH_FACTOR times the 95th,
# but at least LEAST_RATIO times l_a, as in the published range of 10 to 110.
LOW_FACTOR, HIGH_FACTOR, LEAST_RATIO = 0.8, 2.0, 11.0


class MagnitudeWatch:
    """Says once in a run that magnitudes stay as they are, and which range would let them move.

    Outside [l_a, u_a] a magnitude has no gradient; weights that were trained with another loss may
    have all of theirs there.
    """

    def __init__(self, log: RunLog, margins: Sequence[Margin], *, frozen: bool = False):
        """Watch the first of `margins` that has a range; warn at once if the backbone is frozen.

        Args:
            log: hears it.
            margins: of the head.
            frozen: whether the backbone learns nothing.

        """
        self._log, self._said = log, frozen
        self._margin = next((m for m in margins if isinstance(m, MagnitudeMargin)), None)
        self._seen: list[Mapping[str, float]] = []
        if self._margin and frozen:
            log.line(
                "WARNING: Global.freeze_backbone: magnitudes stay as they are; only the class "
                f"centres learn from {type(self._margin).__name__}"
            )

    def __call__(self, report: StepReport, step: int) -> None:
        """Judge the statistics of one more step."""
        if self._margin is None or self._said:
            return
        self._seen.append(report.statistics)
        if len(self._seen) == STEPS:
            self._said = self._judge(self._margin)
            self._seen.clear()

    def _judge(self, margin: MagnitudeMargin) -> bool:
        low, middle, high, outside = (
            math.fsum(step[name] for step in self._seen) / STEPS
            for name in ("magnitude_p5", "magnitude_p50", "magnitude_p95", "magnitude_outside")
        )
        range_ = f"l_a {margin.l_a:g} to u_a {margin.u_a:g}"
        if outside >= OUTSIDE_SHARE:
            l_a, u_a = suggested_range(low, high)
            self._log.line(
                f"WARNING: magnitudes will stay flat: {outside:.0%} of those of the last {STEPS} "
                f"steps are outside {range_}, where they have no gradient; they lie between "
                f"{low:.4g} and {high:.4g} (5 % to 95 %): set l_a {l_a:g}, u_a {u_a:g} and "
                f"lambda_g above {margin.bound(l_a, u_a):.4g}"
            )
        elif high - low < ALIKE_SPREAD * middle:
            self._log.line(
                f"WARNING: magnitudes are all alike: {low:.5g} to {high:.5g} (5 % to 95 % of the "
                f"last {STEPS} steps): they cannot say how good a picture is. Does the backbone "
                "normalise its features?"
            )
        else:
            return False
        return True


def suggested_range(low: float, high: float) -> tuple[float, float]:
    """Return l_a and u_a for features whose magnitudes lie between `low` and `high`.

    Both with room: below for bad pictures, and above, where good ones are to move, as much as the
    published range of 10 to 110 has.
    """
    l_a = _two_digits(LOW_FACTOR * max(low, LEAST_MAGNITUDE), math.floor)
    return l_a, _two_digits(max(HIGH_FACTOR * high, LEAST_RATIO * l_a), math.ceil)


def _two_digits(value: float, rounded: Callable[[float], int]) -> float:
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{rounded(value / unit) * unit:.3g}")
