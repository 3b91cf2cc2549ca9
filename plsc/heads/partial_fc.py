"""Partial FC: margin softmax over class centres that are split over the ranks and sampled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from plsc.distributed.collectives import gather, gather_with_grad, reduce_sum_with_grad
from plsc.heads.centres import ClassCentres, Rows, RowUpdate, vector_norms
from plsc.heads.sampling import columns_of, sample_rows
from plsc.loss.margin import MarginOutput
from plsc.loss.softmax import cross_entropy

Margin = Callable[[Tensor, Tensor, Tensor], MarginOutput]


@dataclass
class HeadOutput:
    """The loss of the global batch (a scalar, the same on every rank) and what to log of it."""

    loss: Tensor
    statistics: dict[str, Tensor] = field(default_factory=dict)


class _Cosines(PyLayer):
    """Unit vectors [n, d] -> cosines [n, k] with the rows in use.

    Backward leaves the rows' gradient in `rows.gradient`: with c = f·W/‖W‖,
    dc/dW = f/‖W‖ − c·W/‖W‖². The norms divide the [n, k] cosines, not the [k, d] rows.
    """

    @staticmethod
    def forward(ctx, units, rows):
        inverse = 1.0 / rows.norms
        cosines = paddle.matmul(units, rows.weight, transpose_y=True).multiply_(inverse)
        ctx.rows, ctx.inverse = rows, inverse
        ctx.save_for_backward(units, cosines)
        return cosines

    @staticmethod
    def backward(ctx, gradient):
        units, cosines = ctx.saved_tensor()
        rows, inverse = ctx.rows, ctx.inverse
        pull = (gradient * cosines).sum(axis=0) * paddle.square(inverse)
        left = gradient * inverse
        rows.gradient.add(left, units, pull)
        return paddle.matmul(left, rows.weight)


class PartialFC:
    """(features [b, d], labels [b]) -> loss of the global batch (arXiv:2010.05222).

    A step is begin_step, the head itself for each micro-batch, update (or not), end_step.

    Args:
        centres: this rank's class centres.
        losses: (weight, margin) pairs; their weighted losses are added.
        sample_ratio: share of the rank's classes used in a step, in (0, 1].
        sparse_update: whether rows that are not sampled stay as they are; otherwise momentum and
            weight decay go on for them with a zero gradient, at the cost of a dense step.
        seed: of the sampling; rows are a function of (seed, step, rank) alone, so a resumed run
            draws what the first would have drawn.

    """

    def __init__(
        self,
        centres: ClassCentres,
        losses: Sequence[tuple[float, Margin]],
        *,
        sample_ratio: float = 1.0,
        sparse_update: bool = True,
        seed: int = 0,
    ):
        self.centres = centres
        self.losses = losses
        self.sample_ratio = sample_ratio
        self.sparse_update = sparse_update
        self.seed = seed
        self.rows: Rows | None = None

    @property
    def num_sample(self) -> int:
        """Centres used in a step, unless the batch holds more classes."""
        return max(1, int(self.sample_ratio * self.centres.shard.num_local))

    def begin_step(self, labels: Tensor, *, step: int) -> None:
        """Sample once per optimizer step, for all its micro-batches; labels [n] of this rank."""
        self.use_rows(self.sample(gather(labels).numpy(), step=step))

    def sample(self, labels: np.ndarray, *, step: int) -> np.ndarray | None:
        """Row numbers for a step on these labels [n] of all ranks; None: all rows."""
        if self.sample_ratio >= 1.0:
            return None
        shard = self.centres.shard
        numbers = self._numbers_of(labels)
        return sample_rows(
            np.unique(numbers[numbers >= 0]),
            num_rows=shard.num_local,
            num_sample=self.num_sample,
            generator=np.random.default_rng([self.seed, step, shard.rank]),
            block=self.centres.block,
        )

    def use_rows(self, numbers: np.ndarray | None) -> None:
        """Use these rows (ascending, distinct) in the step; None: all of them."""
        self.rows = self.centres.take(numbers)

    def __call__(self, features: Tensor, labels: Tensor) -> HeadOutput:
        """Features [b, d] and labels [b] of this rank; computes in the dtype of the centres."""
        rows = self.rows
        assert rows is not None, "begin_step comes first"
        every_feature = gather_with_grad(features.astype(rows.weight.dtype))  # [W·b, d]
        numbers = self._numbers_of(gather(labels).numpy())
        target = paddle.to_tensor(columns_of(numbers, rows.numbers))  # [W·b], -1: another rank's
        feature_norms = vector_norms(every_feature)
        cosines = _Cosines.apply(every_feature / feature_norms, rows)  # [W·b, k]

        loss, statistics = paddle.zeros([], cosines.dtype), {}
        for factor, margin in self.losses:
            output = margin(cosines, target, feature_norms)
            term = cross_entropy(output.logits, target)
            if output.extra is not None:
                term = term + reduce_sum_with_grad(output.extra)
            loss = loss + factor * term
            statistics.update(output.statistics)
        return HeadOutput(loss, statistics)

    def _numbers_of(self, labels: np.ndarray) -> np.ndarray:
        """Row number of each label [n] (global classes); -1 where another rank owns it."""
        shard = self.centres.shard
        owned = shard.owns(labels)
        numbers = np.full(len(labels), -1, np.int64)
        numbers[owned] = self.centres.numbers_of(labels[owned] - shard.start)
        return numbers

    def update(self, update: RowUpdate) -> None:
        """Apply an optimizer's step to the rows in use."""
        assert self.rows is not None
        self.centres.update(self.rows, update, idle=not self.sparse_update)

    def end_step(self) -> None:
        """Let the rows go."""
        self.rows = None
