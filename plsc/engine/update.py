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
        grad_norm: of the replicated parameters' gradient of the global batch, the loss scale taken
            away, before clipping.
        overflow: whether any rank's gradient was not finite; then no rank changed anything.
        non_finite: up to three names of gradients that were not finite, with commas; else "".

    """

    grad_norm: float
    overflow: bool
    non_finite: str = ""


Scalar: TypeAlias = Tensor | float
Key = TypeVar("Key")


def read_scalars(scalars: Mapping[Key, Scalar]) -> dict[Key, Any]:
    """Return scalars as numbers, under the same keys, with a single wait for the device.

    A tensor of several values [n] becomes a list of so many numbers.
    """
    tensors = {name: value for name, value in scalars.items() if isinstance(value, Tensor)}
    wide = any(tensor.dtype == paddle.float64 for tensor in tensors.values())
    dtype = "float64" if wide else "float32"
    same = [each if each.dtype == dtype else each.astype(dtype) for each in tensors.values()]
    if all(each.ndim == 0 for each in same):
        joined = paddle.stack(same) if same else None
    else:
        joined = paddle.concat([each.reshape([-1]) if each.ndim != 1 else each for each in same])
    values = iter([] if joined is None else joined.tolist())
    numbers = {
        name: next(values) if tensor.size == 1 else list(itertools.islice(values, tensor.size))
        for name, tensor in tensors.items()
    }
    return {
        name: numbers[name] if name in numbers else float(value) for name, value in scalars.items()
    }


class Updater:
    """The optimizer step after backward: `squares`, which a caller reads, then `step`.

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
        """Return ‖g‖² of what the step will change, to be read, of sharded rows over all ranks."""
        self._units = {unit.names[0]: unit for unit in self.dense.units()}
        found: dict[str, Scalar] = {name: unit.square() for name, unit in self._units.items()}
        return found | {rows.name: reduce_sum(rows.squared_norm()) for rows in self.sharded}

    @paddle.no_grad()
    def step(
        self, *, lr: float, step: int, squares: Mapping[str, Any] | None = None
    ) -> UpdateReport:
        """Apply the gradients, or skip on overflow; then forget them.

        Args:
            lr: learning rate.
            step: from 1.
            squares: what the host has read of `squares`; it is read here if it is not given.

        """
        read = read_scalars(self.squares()) if squares is None else squares
        dense: dict[str, float] = {}
        for name, unit in self._units.items():
            dense |= unit.squares(read[name])
        squares = dense | {rows.name: read[rows.name] for rows in self.sharded}
        # Dense gradients and the norms of sharded rows are sums over ranks, equal on all of them,
        # and infinity and NaN survive a sum: one rank's overflow is every rank's.
        overflow = not math.isfinite(sum(squares.values()))
        wrong = self._wrong(squares) if overflow else []
        if not overflow:
            self._apply(squares, lr, step)
        scale = self.scaler.scale
        dense_norm = math.sqrt(sum(dense.values())) / scale
        self.scaler.update(overflow)
        self._units = {}
        self.dense.clear_gradients()
        for rows in self.sharded:
            rows.end_step()
        return UpdateReport(dense_norm, overflow, ", ".join(wrong[:3]))

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
        """Return what each gradient is multiplied by: clipping, and the loss scale taken away."""
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
        """Return between which values a gradient is kept that still has the loss scale."""
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

    def _wrong(self, squares: Mapping[str, float]) -> list[str]:
        """Return the names of gradients that are not finite, looked at one by one."""
        found = []
        gradients = self.dense.gradients()
        for name, square in squares.items():
            if math.isfinite(square):
                continue
            names = self._units[name].names if name in self._units else [name]
            if len(names) == 1:
                found.append(names[0])
            else:
                each = {n: paddle.square(gradients[n]).sum() for n in names}
                found += [n for n, value in read_scalars(each).items() if not math.isfinite(value)]
        return found
