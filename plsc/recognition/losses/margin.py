"""Apply margins to the angle between an embedding and its class centre, on any device."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from plsc.config.registry import LOSSES
from plsc.config.schema import Range
from plsc.recognition.losses.matrices import scaled

# arccos has an infinite slope at ±1. Cosines in float32 reach ±1 and may exceed it by an ulp.
COSINE_LIMIT = 1.0 - 1e-7


@dataclass
class MarginOutput:
    """The result of a margin.

    Attributes:
        logits: [n, k], ready for softmax.
        extra: this rank's summand of a scalar that is added to the cross entropy, usually a sum
            over the rows whose target this rank owns; the head sums over the ranks. None if the
            loss has no such term.
        statistics: scalars to log, by name, the same on every rank.
        reusable: true if nothing reads the logits again, the backward of the margin included; the
            softmax may then overwrite them.

    """

    logits: Tensor
    extra: Tensor | None = None
    statistics: dict[str, Tensor] = field(default_factory=dict)
    reusable: bool = False


def target_cosines(cosines: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find each row's target column, in shapes that do not depend on the data.

    Args:
        cosines: [n, k].
        target: [n] int64, column of the row's class, −1 where another rank owns it.

    Returns:
        The cosine at the target [n, 1], taken at column 0 in a row without target; that column
        [n, 1]; and 1 or 0 [n, 1], in the dtype of the cosines, for rows with or without target.

    """
    owned = (target >= 0).astype(cosines.dtype).unsqueeze(1)
    column = target.clip(min=0).unsqueeze(1)
    # With broadcast=True Paddle copies the cosines, even if there is nothing to broadcast.
    return paddle.take_along_axis(cosines, column, axis=1, broadcast=False), column, owned


def add_at(values: Tensor, column: Tensor, change: Tensor) -> Tensor:
    """Add `change` [n, 1] to `values` [n, k] in place, at `column` [n, 1]; return `values`.

    The operation has no gradient; use it inside a PyLayer. (`put_along_axis_` visits all [n, k].)
    """
    rows = paddle.arange(len(column))
    return values.index_put_((rows, column[:, 0]), change[:, 0], accumulate=True)


class Margin(ABC):
    """Base of every loss in the registry."""

    @abstractmethod
    def __call__(self, cosines: Tensor, target: Tensor, feature_norms: Tensor) -> MarginOutput:
        """Turn cosines into logits.

        Args:
            cosines: [n, k] between the samples of all ranks and the classes of this rank.
            target: [n] int64, column of the row's class, −1 where another rank owns it.
            feature_norms: [n, 1], length of each sample's feature.

        """

    def notes(self) -> list[str]:
        """Return lines to log when a run starts."""
        return []

    def state(self) -> dict[str, float]:
        """Return statistics that the loss has gathered, for a checkpoint."""
        return {}

    def restore(self, state: Mapping[str, float]) -> None:
        """Continue from the result of `state()` in a checkpoint."""
        assert not state, f"{type(self).__name__} has no state"


Move = Callable[[Tensor, Tensor | None], Tensor]


class _Moved(PyLayer):
    """Compute s·c_j, and s·move(c_y, a) at the target, in one pass over the cosines.

    Backward is one pass, too. It overwrites the gradient of the logits, which the softmax made and
    nothing else reads. A margin that changes more than the target's cosine needs plain operations.
    """

    @staticmethod
    def forward(ctx, cosines, norms, target, move, s):
        cosine, column, owned = target_cosines(cosines, target)
        leaves = [cosine] if norms is None else [cosine, norms.detach()]
        with paddle.enable_grad():
            for leaf in leaves:
                leaf.stop_gradient = False
            moved = move(cosine, None if norms is None else leaves[1])
            slope, *of_norms = paddle.grad(moved.sum(), leaves)
        ctx.column, ctx.s = column, s
        ctx.steeper = (slope - 1.0) * (owned * s)
        ctx.of_norms = [steep * (owned * s) for steep in of_norms]
        return add_at(scaled(cosines, s), column, ((moved - cosine) * (owned * s)).detach())

    @staticmethod
    def backward(ctx, gradient):
        at_target = paddle.take_along_axis(gradient, ctx.column, axis=1, broadcast=False)
        change = at_target * ctx.steeper
        of_norms = [at_target * steep for steep in ctx.of_norms]
        return add_at(gradient.scale_(ctx.s), ctx.column, change), *of_norms, None


def moved_logits(
    cosines: Tensor, target: Tensor, move: Move, *, s: float, norms: Tensor | None = None
) -> Tensor:
    """Return logits [n, k]: s times the cosines, after `move` changed that of each row's target.

    Args:
        cosines: [n, k].
        target: [n] int64, column of the row's class, −1 where another rank owns it.
        move: (cosine [n, 1], norms [n, 1] or None) -> cosine [n, 1], row by row.
        s: scale.
        norms: [n, 1] feature norms that `move` uses; they receive a gradient.

    """
    if norms is not None and norms.stop_gradient:  # a PyLayer must not return an unused gradient
        return _Moved.apply(cosines, None, target, lambda cosine, _: move(cosine, norms), s)
    return _Moved.apply(cosines, norms, target, move, s)


@LOSSES.register
class MarginLoss(Margin):
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
        """Return logits [n,k] of cosines [n,k], targets [n] (−1: not here), feature norms [n,1]."""
        logits = moved_logits(cosines, target, self._with_margin, s=self.s)
        return MarginOutput(logits, reusable=True)

    def _with_margin(self, cosine: Tensor, norms: Tensor | None) -> Tensor:
        if self.m1 == 1.0 and self.m2 == 0.0:
            return cosine - self.m3
        angle = paddle.acos(cosine.clip(-COSINE_LIMIT, COSINE_LIMIT))
        return paddle.cos(self.m1 * angle + self.m2) - self.m3
