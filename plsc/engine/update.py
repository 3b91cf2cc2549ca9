"""One optimizer step of backbone and head: unscale, agree on overflow, clip, update."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import paddle
from paddle import Tensor

from plsc.engine.precision import LossScaler
from plsc.optimizer.clip import HEAD, ClipGradByGlobalNorm, named, squared_norms
from plsc.optimizer.dense import DenseParameters
from plsc.recognition.heads.partial_fc import PartialFC


class UpdateRule(Protocol):
    """What an optimizer is: a rule for one tensor, or for rows of one."""

    state_names: tuple[str, ...]

    def update(
        self,
        weight: Tensor,
        gradient: Tensor,
        state: dict[str, Tensor],
        *,
        lr: float,
        step: int,
        decay: bool = True,
        factor: float = 1.0,
    ) -> None:
        """Change weight and state in place; the gradient counts `factor` times."""


@dataclass(frozen=True)
class UpdateReport:
    """What an optimizer step did.

    Attributes:
        grad_norm: of the backbone's global-batch gradient, before clipping.
        overflow: whether any rank's gradient was not finite; then no rank changed anything.
        non_finite: state-dict keys of gradients that were not finite.

    """

    grad_norm: float
    overflow: bool
    non_finite: str = ""


class Updater:
    """The optimizer step: `step(lr=…, step=…)` after backward.

    Args:
        dense: the replicated parameters; their gradients are already summed over ranks.
        head: its rows in use hold this rank's part of the sharded gradient.
        rule: Momentum or AdamW.
        clip: None for no clipping.
        scaler: the gradients are those of `scaler.scale` times the loss.
        head_lr_multiplier: the head learns at lr times this.
        no_weight_decay: parts of state-dict keys whose parameters do not decay.

    """

    def __init__(
        self,
        dense: DenseParameters,
        head: PartialFC,
        *,
        rule: UpdateRule,
        clip: ClipGradByGlobalNorm | None,
        scaler: LossScaler,
        head_lr_multiplier: float = 1.0,
        no_weight_decay: Sequence[str] = (),
    ):
        self.dense, self.head, self.rule, self.clip, self.scaler = dense, head, rule, clip, scaler
        self.head_lr_multiplier = head_lr_multiplier
        self.no_weight_decay = tuple(no_weight_decay)

    @paddle.no_grad()
    def step(self, *, lr: float, step: int) -> UpdateReport:
        """Apply the gradients (`step` counts from 1), or skip on overflow; then forget them."""
        rows = self.head.rows
        assert rows is not None
        gradients = self.dense.gradients()
        # The backbone's gradients and the head's norm are sums over ranks, equal on all of them,
        # and infinity and NaN survive a sum: one rank's overflow is every rank's.
        squares = squared_norms(gradients, rows.gradient.squared_norm())
        overflow = not math.isfinite(sum(squares.values()))
        if not overflow:
            clipped = [name for name in squares if self.clip and self.clip.clips(name)]
            norm = math.sqrt(sum(squares[name] for name in clipped)) / self.scaler.scale
            clip_factor = self.clip.factor(norm) if self.clip else 1.0
            factors = {
                name: (clip_factor if name in clipped else 1.0) / self.scaler.scale
                for name in squares
            }
            for name, gradient in gradients.items():
                self._update(name, gradient, factors[name], lr, step)
            self._update_head(factors[HEAD], lr, step)
        backbone_norm = math.sqrt(sum(squares[name] for name in gradients)) / self.scaler.scale
        self.scaler.update(overflow)
        self.dense.clear_gradients()
        self.head.end_step()
        wrong = [name for name, square in squares.items() if not math.isfinite(square)]
        return UpdateReport(backbone_norm, overflow, ", ".join(wrong[:3]))

    def _update(self, name: str, gradient: Tensor, factor: float, lr: float, step: int) -> None:
        weight, state = self.dense.weights[name], self.dense.state[name]
        decay = not named(name, self.no_weight_decay)
        self.rule.update(weight, gradient, state, lr=lr, step=step, decay=decay, factor=factor)

    def _update_head(self, factor: float, lr: float, step: int) -> None:
        decay = not named(HEAD, self.no_weight_decay)
        head_lr = lr * self.head_lr_multiplier

        def update(weight: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> None:
            self.rule.update(
                weight, gradient, state, lr=head_lr, step=step, decay=decay, factor=factor
            )

        self.head.update(update)
