"""One optimizer step of all trained parameters: unscale, agree on overflow, clip, update."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import paddle
from paddle import Tensor

from plsc.distributed.collectives import reduce_sum
from plsc.engine.precision import LossScaler
from plsc.engine.training_task import Sharded
from plsc.optimizer.clip import GradClip, clips, named
from plsc.optimizer.dense import DenseParameters, Unit
from plsc.optimizer.rule import UpdateRule


@dataclass(frozen=True)
class UpdateReport:
    """The outcome of an optimizer step.

    Attributes:
        grad_norm: norm of the gradient of the replicated parameters for the global batch, without
            the loss scale and before clipping.
        overflow: true if the gradient of any rank was not finite; then no rank changed anything.
        non_finite: names of up to three gradients that were not finite, joined by commas.

    """

    grad_norm: float
    overflow: bool
    non_finite: str = ""


Scalar: TypeAlias = Tensor | float
Key = TypeVar("Key")


def read_scalars(scalars: Mapping[Key, Scalar]) -> dict[Key, Any]:
    """Return scalars as numbers under the same keys, with a single wait for the device.

    A tensor [n] becomes a list of n numbers.
    """
    tensors = {name: value for name, value in scalars.items() if isinstance(value, Tensor)}
    wide = any(tensor.dtype == paddle.float64 for tensor in tensors.values())
    dtype = "float64" if wide else "float32"
    cast = [each if each.dtype == dtype else each.astype(dtype) for each in tensors.values()]
    if all(each.ndim == 0 for each in cast):
        joined = paddle.stack(cast) if cast else None
    else:
        joined = paddle.concat([each.reshape([-1]) if each.ndim != 1 else each for each in cast])
    values = iter([] if joined is None else joined.tolist())
    numbers = {
        name: next(values) if tensor.size == 1 else list(itertools.islice(values, tensor.size))
        for name, tensor in tensors.items()
    }
    return {
        name: numbers[name] if name in numbers else float(value) for name, value in scalars.items()
    }


class Updater:
    """The optimizer step after backward: first `squares`, then `step` with what the host read.

    Args:
        dense: the replicated parameters; their gradients are already summed over the ranks.
        sharded: rows that are split over the ranks; each has the gradient of this rank's rows.
        rule: update rule, for example Momentum or AdamW.
        clip: gradient clipping; None to clip nothing.
        scaler: loss scaler; the gradients are those of `scaler.scale` times the loss.
        no_weight_decay: parameters whose names contain one of these parts do not decay.

    """

    def __init__(
        self,
        dense: DenseParameters,
        sharded: Sequence[Sharded] = (),
        *,
        rule: UpdateRule,
        clip: GradClip | None,
        scaler: LossScaler,
        no_weight_decay: Sequence[str] = (),
    ):
        self.dense, self.sharded = dense, tuple(sharded)
        self.rule, self.clip, self.scaler = rule, clip, scaler
        self.no_weight_decay = tuple(no_weight_decay)
        self._units: dict[str, Unit] = {}

    @paddle.no_grad()
    def squares(self) -> dict[str, Scalar]:
        """Return ‖g‖² of every unit that the step changes; for sharded rows, over all ranks."""
        self._units = {unit.names[0]: unit for unit in self.dense.units()}
        dense: dict[str, Scalar] = {name: unit.square() for name, unit in self._units.items()}
        return dense | {rows.name: reduce_sum(rows.squared_norm()) for rows in self.sharded}

    @paddle.no_grad()
    def step(
        self, *, lr: float, step: int, squares: Mapping[str, Any] | None = None
    ) -> UpdateReport:
        """Apply the gradients, or skip the step on overflow; then clear the gradients.

        Args:
            lr: learning rate.
            step: number of the step, from 1.
            squares: the values of `squares()` that the host has read; None to read them here.

        """
        read = read_scalars(self.squares()) if squares is None else squares
        dense: dict[str, float] = {}
        for name, unit in self._units.items():
            dense |= unit.squares(read[name])
        squares = dense | {rows.name: read[rows.name] for rows in self.sharded}
        # Dense gradients and norms of sharded rows are sums over the ranks, equal on all ranks.
        # Infinity and NaN survive a sum, so all ranks see the overflow of one.
        overflow = not math.isfinite(sum(squares.values()))
        non_finite = self._non_finite(squares) if overflow else []
        if not overflow:
            self._apply(squares, lr, step)
        scale = self.scaler.scale
        dense_norm = math.sqrt(sum(dense.values())) / scale
        self.scaler.update(overflow)
        self._units = {}
        self.dense.clear_gradients()
        for rows in self.sharded:
            rows.end_step()
        return UpdateReport(dense_norm, overflow, ", ".join(non_finite[:3]))

    def _apply(self, squares: Mapping[str, float], lr: float, step: int) -> None:
        factors = self._factors(squares)
        for name, unit in self._units.items():
            unit.update(
                self.rule,
                lr=lr,
                step=step,
                decay=not named((name,), self.no_weight_decay),
                factors=[factors[each] for each in unit.names if each in factors],
                limits=self._limits(name),
            )
        self.dense.publish()
        for rows in self.sharded:
            self._update_rows(rows, factors[rows.name], lr, step)

    def _factors(self, squares: Mapping[str, float]) -> dict[str, float]:
        """Return the factor of each gradient: that of clipping, divided by the loss scale."""
        scale, aliases = self.scaler.scale, {rows.name: rows.aliases for rows in self.sharded}
        factors = dict.fromkeys(squares, 1.0)
        if self.clip is not None:
            clipped = [name for name in squares if clips(self.clip, name, *aliases.get(name, ()))]
            joint = math.fsum(squares[name] for name in clipped)
            for name in clipped:
                square = squares[name] if self.clip.by_tensor else joint
                factors[name] = self.clip.factor(math.sqrt(square) / scale)
        return {name: factor / scale for name, factor in factors.items()}

    def _limits(self, *names: str) -> tuple[float, float] | None:
        """Return the bounds of clipping by value for gradients that have the loss scale."""
        if self.clip is None or self.clip.limits is None or not clips(self.clip, *names):
            return None
        low, high = self.clip.limits
        return low * self.scaler.scale, high * self.scaler.scale

    def _update_rows(self, rows: Sharded, factor: float, lr: float, step: int) -> None:
        names = (rows.name, *rows.aliases)
        decay, limits = not named(names, self.no_weight_decay), self._limits(*names)
        rows_lr = lr * rows.lr_multiplier

        def update(weight: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> None:
            if limits is not None:
                gradient = gradient.clip(*limits)
            self.rule.update(
                weight, gradient, state, lr=rows_lr, step=step, decay=decay, factor=factor
            )

        rows.update(update)

    def _non_finite(self, squares: Mapping[str, float]) -> list[str]:
        """Return the names of the gradients that are not finite, checked one by one."""
        non_finite = []
        gradients = self.dense.gradients()
        for name, square in squares.items():
            if math.isfinite(square):
                continue
            names = self._units[name].names if name in self._units else [name]
            if len(names) == 1:
                non_finite.append(names[0])
            else:
                sums = read_scalars({n: paddle.square(gradients[n]).sum() for n in names})
                non_finite += [n for n, value in sums.items() if not math.isfinite(value)]
        return non_finite
