"""A loss of your own: a margin that turns cosines into logits."""

from paddle import Tensor

from plsc.config.registry import LOSSES
from plsc.recognition.losses.margin import Margin, MarginOutput, moved_logits


@LOSSES.register
class FlatMargin(Margin):
    """Subtract `m` from the cosine of the right class, and scale all by `s`."""

    def __init__(self, m: float = 0.2, s: float = 32.0):
        self.m, self.s = m, s

    def __call__(self, cosines: Tensor, target: Tensor, feature_norms: Tensor) -> MarginOutput:
        """Return the logits of cosines [b, classes]; the head computes the cross entropy."""
        return MarginOutput(moved_logits(cosines, target, lambda cos, _: cos - self.m, s=self.s))
