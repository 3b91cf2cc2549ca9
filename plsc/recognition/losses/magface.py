"""MagFace: make the length of a feature express quality (Meng et al., arXiv:2103.06627)."""

from abc import abstractmethod
from typing import Annotated

import paddle
from paddle import Tensor

from plsc.config.registry import LOSSES
from plsc.config.schema import Range
from plsc.errors import UserError
from plsc.recognition.losses.margin import COSINE_LIMIT, Margin, MarginOutput, moved_logits

Positive = Annotated[float, Range(0, low_open=True)]
NotNegative = Annotated[float, Range(0)]
PERCENTS = (5, 50, 95)
BOUND_TOLERANCE = 1e-5  # relative; a bound copied from the log has six digits


def quantiles(values: Tensor, name: str) -> dict[str, Tensor]:
    """Return the scalars `<name>_p5`, `_p50` and `_p95` of `values` [n, 1], for the log."""
    ascending = values.detach().flatten().sort()
    return {
        f"{name}_p{percent}": ascending[round(percent / 100 * (len(ascending) - 1))]
        for percent in PERCENTS
    }


class MagnitudeMargin(Margin):
    """A margin m(a) that grows with the feature's length a, and a pull g(a) to greater length.

    m(a) = (u_m − l_m)/(u_a − l_a)·(a − l_a) + l_m and g(a) = a/u_a² + 1/a. a is clipped to
    [l_a, u_a] and has no gradient outside. The loss is the cross entropy of the logits plus
    lambda_g·mean g. A longer feature faces a larger margin, so only samples that are easy to
    recognise grow long.

    Args:
        l_a: lower bound of the length.
        u_a: upper bound of the length.
        l_m: margin at `l_a`.
        u_m: margin at `u_a`.
        lambda_g: weight of the mean of g.
        s: scale of the logits.

    Raises:
        UserError: `l_a` is not below `u_a`, or `l_m` is not below `u_m`.

    """

    def __init__(
        self, *, l_a: float, u_a: float, l_m: float, u_m: float, lambda_g: float, s: float
    ):
        for low, high, low_name, high_name in ((l_a, u_a, "l_a", "u_a"), (l_m, u_m, "l_m", "u_m")):
            if low >= high:
                raise UserError(
                    f"Loss.Train.{type(self).__name__}: {low_name} must be below {high_name}, got "
                    f"{low:g} and {high:g}"
                )
        self.l_a, self.u_a, self.l_m, self.u_m = l_a, u_a, l_m, u_m
        self.lambda_g, self.s = lambda_g, s

    def __call__(self, cosines: Tensor, target: Tensor, feature_norms: Tensor) -> MarginOutput:
        """Return logits [n,k] of cosines [n,k], targets [n] (−1: not here), feature norms [n,1]."""

        def move(cosine: Tensor, norms: Tensor | None) -> Tensor:
            assert norms is not None
            return self.with_margin(cosine, self.margin(norms))

        logits = moved_logits(cosines, target, move, s=self.s, norms=feature_norms)
        pull = self.lambda_g * self.regulariser(feature_norms) / len(feature_norms)
        owned = (target >= 0).astype(pull.dtype).unsqueeze(1)
        return MarginOutput(
            logits, (pull * owned).sum(), self._statistics(feature_norms, pull), reusable=True
        )

    @abstractmethod
    def with_margin(self, cosine: Tensor, margin: Tensor) -> Tensor:
        """Apply the margin [n, 1] to the cosine [n, 1] of the target."""

    def margin(self, norms: Tensor) -> Tensor:
        """Return m(a) of feature norms [n, 1]."""
        slope = (self.u_m - self.l_m) / (self.u_a - self.l_a)
        return slope * (norms.clip(self.l_a, self.u_a) - self.l_a) + self.l_m

    def regulariser(self, norms: Tensor) -> Tensor:
        """Return g(a) of feature norms [n, 1]; g is smallest at `u_a`."""
        a = norms.clip(self.l_a, self.u_a)
        return a / self.u_a**2 + 1.0 / a

    def _statistics(self, norms: Tensor, pull: Tensor) -> dict[str, Tensor]:
        outside = (norms < self.l_a).logical_or(norms > self.u_a).astype(norms.dtype)
        return {
            "loss_mag": pull.detach().sum(),
            **quantiles(norms, "magnitude"),
            **quantiles(self.margin(norms), "margin"),
            "magnitude_outside": outside.mean(),
        }

    def bound(self, l_a: float | None = None, u_a: float | None = None) -> float:
        """Return the least lambda_g that gives each sample one best magnitude in the range.

        With a smaller lambda_g, the magnitudes of easy samples may fall (paper, section 3.2).
        `l_a` and `u_a` replace the limits of this loss.
        """
        low, high = self.l_a if l_a is None else l_a, self.u_a if u_a is None else u_a
        slope = (self.u_m - self.l_m) / (high - low)
        return self.s * slope * (high * low) ** 2 / (high**2 - low**2)

    def notes(self) -> list[str]:
        """Return a line that compares lambda_g with its bound."""
        requirement = (
            f"{type(self).__name__}: l_a {self.l_a:g}, u_a {self.u_a:g}, l_m {self.l_m:g}, u_m "
            f"{self.u_m:g}, s {self.s:g} need lambda_g of at least {self.bound():.6g}"
        )
        if self.lambda_g >= self.bound() * (1 - BOUND_TOLERANCE):
            return [f"{requirement}; it is {self.lambda_g:g}"]
        return [
            f"WARNING: {requirement}; it is {self.lambda_g:g}: below the bound a sample may have "
            "its best magnitude at the lower end of the range, however good the picture is"
        ]


@LOSSES.register
class MagFace(MagnitudeMargin):
    """z_y = s·cos(θ_y + m(a)), see MagnitudeMargin; z_j = s·cos θ_j elsewhere.

    Near 180° an added margin no longer lowers the cosine. With `easy_margin`, the logit stays
    without margin from 90° on. Otherwise it is cos θ − m·sin m from 180° − m on, as in ArcFace.
    """

    def __init__(
        self,
        l_a: Positive = 10.0,
        u_a: Positive = 110.0,
        l_m: NotNegative = 0.45,
        u_m: NotNegative = 0.8,
        lambda_g: NotNegative = 35.0,
        s: Positive = 64.0,
        easy_margin: bool = True,
    ):
        super().__init__(l_a=l_a, u_a=u_a, l_m=l_m, u_m=u_m, lambda_g=lambda_g, s=s)
        self.easy_margin = easy_margin

    def with_margin(self, cosine: Tensor, margin: Tensor) -> Tensor:
        """Return cos(θ + m)."""
        # The derivative of the sine is infinite at ±1.
        cosine = cosine.clip(-COSINE_LIMIT, COSINE_LIMIT)
        sine = paddle.sqrt(1.0 - cosine * cosine)
        narrowed = cosine * paddle.cos(margin) - sine * paddle.sin(margin)
        if self.easy_margin:
            return paddle.where(cosine > 0, narrowed, cosine)
        wide = cosine <= -paddle.cos(margin)
        return paddle.where(wide, cosine - margin * paddle.sin(margin), narrowed)


@LOSSES.register
class MagCosFace(MagnitudeMargin):
    """z_y = s·(cos θ_y − m(a)), see MagnitudeMargin; z_j = s·cos θ_j elsewhere."""

    def __init__(
        self,
        l_a: Positive = 10.0,
        u_a: Positive = 110.0,
        l_m: NotNegative = 0.35,
        u_m: NotNegative = 0.8,
        lambda_g: NotNegative = 150.0,
        s: Positive = 64.0,
    ):
        super().__init__(l_a=l_a, u_a=u_a, l_m=l_m, u_m=u_m, lambda_g=lambda_g, s=s)

    def with_margin(self, cosine: Tensor, margin: Tensor) -> Tensor:
        """Return cos θ − m."""
        return cosine - margin
