"""Margins on the angle between an embedding and its class centre: pure maths on any device."""

from dataclasses import dataclass, field
from typing import Annotated

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from plsc.registry import LOSSES
from plsc.schema import Range

# arccos has an infinite slope at ±1, where float32 cosines do arrive (and even pass by an ulp).
COSINE_LIMIT = 1.0 - 1e-7


@dataclass
class MarginOutput:
    """What a margin makes of the cosines.

    Attributes:
        logits: [n, k], ready for softmax.
        extra: this rank's summand of a scalar to add to the cross entropy, in general a sum over
            the rows whose target is here; the head adds up the ranks'. None without one.
        statistics: scalars to log, by name.
        reusable: nothing will ask for the logits again, neither their margin's gradient: the
            softmax may be computed in their memory.

    """

    logits: Tensor
    extra: Tensor | None = None
    statistics: dict[str, Tensor] = field(default_factory=dict)
    reusable: bool = False


def target_cosines(cosines: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where each row's own class lies, in shapes that do not depend on the data.

    Args:
        cosines: [n, k].
        target: [n] int64, column of the row's class, −1 where another rank owns it.

    Returns:
        Cosine at the target [n, 1] (at column 0 where there is none), the column [n, 1], and
        whether the row has a target here [n, 1], in the dtype of the cosines.

    """
    owned = (target >= 0).astype(cosines.dtype).unsqueeze(1)
    column = target.clip(min=0).unsqueeze(1)
    # Broadcasting, even where there is nothing to broadcast, copies the cosines.
    return paddle.take_along_axis(cosines, column, axis=1, broadcast=False), column, owned


def add_at(values: Tensor, column: Tensor, change: Tensor) -> Tensor:
    """`values` [n, k], changed in place: `change` [n, 1] is added at `column` [n, 1] of each row.

    It has no gradient: for the inside of a PyLayer. (`put_along_axis_` visits all [n, k].)
    """
    rows = paddle.arange(len(column))
    return values.index_put_((rows, column[:, 0]), change[:, 0], accumulate=True)


class _Moved(PyLayer):
    """s·c_j, but s·move(c_y) at the target: one pass over the cosines, and one in backward.

    Backward works in the memory of the logits' gradient, which is the softmax's and in no other
    hands. A margin that cannot be had by moving the target's cosine alone takes plain operations.
    """

    @staticmethod
    def forward(ctx, cosines, target, move, s):
        cosine, column, owned = target_cosines(cosines, target)
        with paddle.enable_grad():
            cosine.stop_gradient = False
            moved = move(cosine)
            (slope,) = paddle.grad(moved.sum(), cosine)
        ctx.column, ctx.steeper, ctx.s = column, (slope - 1.0) * (owned * s), s
        return add_at(cosines * s, column, ((moved - cosine) * (owned * s)).detach())

    @staticmethod
    def backward(ctx, gradient):
        at_target = paddle.take_along_axis(gradient, ctx.column, axis=1, broadcast=False)
        change = at_target * ctx.steeper
        return add_at(gradient.scale_(ctx.s), ctx.column, change), None


@LOSSES.register
class MarginLoss:
    """z_y = s·(cos(m1·θ_y + m2) − m3), z_j = s·cos θ_j elsewhere, with the true gradient.

    SphereFace is m1 = 1.35, ArcFace (arXiv:1801.07698) m2 = 0.5, CosFace (arXiv:1801.09414)
    m3 = 0.4; they combine as in PLSC.
    """

    def __init__(
        self,
        m1: Annotated[float, Range(0)] = 1.0,
        m2: Annotated[float, Range(0)] = 0.0,
        m3: Annotated[float, Range(0)] = 0.0,
        s: Annotated[float, Range(0, low_open=True)] = 64.0,
    ):
        self.m1, self.m2, self.m3, self.s = m1, m2, m3, s

    def __call__(self, cosines: Tensor, target: Tensor, feature_norms: Tensor) -> MarginOutput:
        """Cosines [n,k], target columns [n] (−1: not here), feature norms [n,1] -> logits [n,k]."""
        logits = _Moved.apply(cosines, target, self._with_margin, self.s)
        return MarginOutput(logits, reusable=True)

    def _with_margin(self, cosine: Tensor) -> Tensor:
        if self.m1 == 1.0 and self.m2 == 0.0:
            return cosine - self.m3
        angle = paddle.acos(cosine.clip(-COSINE_LIMIT, COSINE_LIMIT))
        return paddle.cos(self.m1 * angle + self.m2) - self.m3
