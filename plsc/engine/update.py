"""One optimizer step of all trained parameters: unscale, agree on overflow, clip, update."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import paddle
from paddle import Tensor

from plsc.engine.precision import LossScaler
from plsc.engine.training_task import Sharded
from plsc.optimizer.clip import ClipGradByGlobalNorm, named, squared_norms
from plsc.optimizer.dense import DenseParameters
from plsc.optimizer.rule import UpdateRule


@dataclass(frozen=True)
class UpdateReport:
    """What an optimizer step did.

    Attributes:
        grad_norm: of the replicated parameters' gradient of the global batch, the loss scale taken
            away, before clipping.
        overflow: whether any rank's gradient was not finite; then no rank changed anything.
        non_finite: up to three names of gradients that were not finite, with commas; else "".

    """

    grad_norm: float
    overflow: bool
    non_finite: str = ""


class Updater:
    """The optimizer step: `step(lr=…, step=…)` after backward.

    Args:
        dense: the replicated parameters; their gradients are already summed over ranks.
        sharded: rows that are split over the ranks; each has this rank's part of the gradient.
        rule: Momentum or AdamW.
        clip: None for no clipping.
        scaler: the gradients are those of `scaler.scale` times the loss.
        no_weight_decay: parts of names whose parameters do not decay.

    """

    def __init__(
        self,
        dense: DenseParameters,
        sharded: Sequence[Sharded] = (),
        *,
        rule: UpdateRule,
        clip: ClipGradByGlobalNorm | None,
        scaler: LossScaler,
        no_weight_decay: Sequence[str] = (),
    ):
        self.dense, self.sharded = dense, tuple(sharded)
        self.rule, self.clip, self.scaler = rule, clip, scaler
        self.no_weight_decay = tuple(no_weight_decay)

    @paddle.no_grad()
    def step(self, *, lr: float, step: int) -> UpdateReport:
        """Apply the gradients (`step` counts from 1), or skip on overflow; then forget them."""
        gradients = self.dense.gradients()
        # Dense gradients and the norms of sharded rows are sums over ranks, equal on all of them,
        # and infinity and NaN survive a sum: one rank's overflow is every rank's.
        squares = squared_norms(
            gradients, {rows.name: rows.squared_norm() for rows in self.sharded}
        )
        overflow = not math.isfinite(sum(squares.values()))
        if not overflow:
            factors = self._factors(squares)
            for name, gradient in gradients.items():
                self._update_dense(name, gradient, factors[name], lr, step)
            for rows in self.sharded:
                self._update_rows(rows, factors[rows.name], lr, step)
        dense_norm = math.sqrt(sum(squares[name] for name in gradients)) / self.scaler.scale
        self.scaler.update(overflow)
        self.dense.clear_gradients()
        for rows in self.sharded:
            rows.end_step()
        wrong = [name for name, square in squares.items() if not math.isfinite(square)]
        return UpdateReport(dense_norm, overflow, ", ".join(wrong[:3]))

    def _factors(self, squares: dict[str, float]) -> dict[str, float]:
        """Return what each gradient is multiplied by: clipping, and the loss scale taken away."""
        scale, aliases = self.scaler.scale, {rows.name: rows.aliases for rows in self.sharded}
        if self.clip is None:
            return dict.fromkeys(squares, 1.0 / scale)
        clipped = {name for name in squares if self.clip.clips(name, *aliases.get(name, ()))}
        norm = math.sqrt(sum(square for name, square in squares.items() if name in clipped)) / scale
        factor = self.clip.factor(norm)
        return {name: (factor if name in clipped else 1.0) / scale for name in squares}

    def _update_dense(
        self, name: str, gradient: Tensor, factor: float, lr: float, step: int
    ) -> None:
        weight, state = self.dense.weights[name], self.dense.state[name]
        decay = not named((name,), self.no_weight_decay)
        self.rule.update(weight, gradient, state, lr=lr, step=step, decay=decay, factor=factor)

    def _update_rows(self, rows: Sharded, factor: float, lr: float, step: int) -> None:
        decay = not named((rows.name, *rows.aliases), self.no_weight_decay)
        rows_lr = lr * rows.lr_multiplier

        def update(weight: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> None:
            self.rule.update(
                weight, gradient, state, lr=rows_lr, step=step, decay=decay, factor=factor
            )

        rows.update(update)
