"""AdaFace: weight hard samples by the quality of the image (Kim et al., arXiv:2204.00964)."""

from collections.abc import Mapping
from typing import Annotated

import paddle
from paddle import Tensor

from plsc.config.registry import LOSSES
from plsc.config.schema import Range
from plsc.recognition.losses.magface import quantiles
from plsc.recognition.losses.margin import Margin, MarginOutput, moved_logits

EPSILON = 1e-3  # margin of the range of angles, and guard of the deviation, as in the paper
NORMS = (1e-3, 100.0)  # bounds to which feature norms are clipped
FIRST_MEAN, FIRST_STD = 20.0, 100.0  # before the first batch


@LOSSES.register
class AdaFace(Margin):
    """z_y = s·(cos(θ_y − m·q) − (m + m·q)), z_j = s·cos θ_j elsewhere, q in [−1, 1].

    q = h·(‖f‖ − μ)/σ estimates the quality of the image. At q = −1 the margin equals ArcFace's, at
    q = 0 CosFace's; the higher q is, the more a wide angle counts. q has no gradient. μ and σ are
    moving averages over the batches of all ranks, and a checkpoint stores them.

    Args:
        m: margin.
        h: slope of q, which reaches its bounds where the norm is σ/h away from μ.
        s: scale of the logits.
        t_alpha: weight of the newest batch in μ and σ; with accumulation, of each micro-batch.

    """

    def __init__(
        self,
        m: Annotated[float, Range(0)] = 0.4,
        h: Annotated[float, Range(0, low_open=True)] = 0.333,
        s: Annotated[float, Range(0, low_open=True)] = 64.0,
        t_alpha: Annotated[float, Range(0, 1, low_open=True)] = 0.01,
    ):
        self.m, self.h, self.s, self.t_alpha = m, h, s, t_alpha
        self._moments = (FIRST_MEAN, FIRST_STD)  # replaced by a tensor at the first batch
        self._moving: Tensor | None = None  # μ and σ [2]

    def __call__(self, cosines: Tensor, target: Tensor, feature_norms: Tensor) -> MarginOutput:
        """Return logits [n,k] of cosines [n,k], targets [n] (−1: not here), feature norms [n,1]."""
        quality = self._quality(feature_norms.detach())

        def move(cosine: Tensor, norms: Tensor | None) -> Tensor:
            angle = paddle.acos(cosine.clip(EPSILON - 1, 1 - EPSILON))
            angle = (angle - self.m * quality).clip(EPSILON, paddle.pi - EPSILON)
            return paddle.cos(angle) - self.m * (1 + quality)

        statistics = {**quantiles(feature_norms, "magnitude"), **quantiles(quality, "quality")}
        logits = moved_logits(cosines, target, move, s=self.s)
        return MarginOutput(logits, statistics=statistics, reusable=True)

    def _quality(self, norms: Tensor) -> Tensor:
        """Add the feature norms [n, 1] of all ranks to the averages and return q [n, 1]."""
        norms = norms.clip(*NORMS)
        std = paddle.sqrt(paddle.square(norms - norms.mean()).sum() / max(len(norms) - 1, 1))
        newest = paddle.stack([norms.mean(), std])
        before = self._moving
        if before is None:
            before = paddle.to_tensor(self._moments, newest.dtype)
        self._moving = self.t_alpha * newest + (1 - self.t_alpha) * before
        mean, std = self._moving.unbind()
        return (self.h * (norms - mean) / (std + EPSILON)).clip(-1, 1)

    def state(self) -> dict[str, float]:
        """Return the moving averages."""
        mean, std = self._moments if self._moving is None else self._moving.tolist()
        return {"mean": mean, "std": std}

    def restore(self, state: Mapping[str, float]) -> None:
        """Continue from the moving averages of a checkpoint."""
        self._moments, self._moving = (state["mean"], state["std"]), None
