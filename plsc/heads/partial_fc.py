"""Partial FC: margin softmax over class centres that are split over the ranks and sampled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import paddle
from paddle import Tensor

from plsc.distributed.collectives import gather, gather_with_grad, reduce_sum_with_grad
from plsc.heads.centres import ClassCentres, Rows
from plsc.heads.sampling import columns_of, sample_classes
from plsc.loss.margin import MarginOutput
from plsc.loss.softmax import cross_entropy

NORM_EPSILON = 1e-12  # keeps the derivative of the norm finite at the zero vector

Margin = Callable[[Tensor, Tensor, Tensor], MarginOutput]


@dataclass
class HeadOutput:
    """The loss of the global batch (a scalar, the same on every rank) and what to log of it."""

    loss: Tensor
    statistics: dict[str, Tensor] = field(default_factory=dict)


def vector_norms(vectors: Tensor) -> Tensor:
    """L2 norms [n, 1] of [n, d], differentiable at zero."""
    return paddle.sqrt((vectors * vectors).sum(axis=1, keepdim=True) + NORM_EPSILON)


class PartialFC:
    """(features [b, d], labels [b]) -> loss of the global batch (arXiv:2010.05222).

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
        self._row_numbers: np.ndarray | None = None

    @property
    def num_sample(self) -> int:
        """Centres used in a step, unless the batch holds more classes."""
        return max(1, int(self.sample_ratio * self.centres.shard.num_local))

    def begin_step(self, labels: Tensor, *, step: int) -> None:
        """Sample once per optimizer step, for all its micro-batches; labels [n] of this rank."""
        if self.sample_ratio >= 1.0:
            self.use_rows(None)
            return
        shard = self.centres.shard
        generator = np.random.default_rng([self.seed, step, shard.rank])
        every_label = gather(labels).numpy()
        self.use_rows(sample_classes(every_label, shard, self.num_sample, generator))

    def use_rows(self, rows: np.ndarray | None) -> None:
        """Use these local rows (ascending, distinct) in the step; None: all of them."""
        self._row_numbers = rows
        self.rows = self.centres.take(rows if self.sparse_update else None)

    def __call__(self, features: Tensor, labels: Tensor) -> HeadOutput:
        """Features [b, d] and labels [b] of this rank; computes in the dtype of the centres."""
        assert self.rows is not None, "begin_step comes first"
        every_feature = gather_with_grad(features.astype(self.rows.weight.dtype))  # [W·b, d]
        columns = columns_of(gather(labels).numpy(), self.centres.shard, self._row_numbers)
        target = paddle.to_tensor(columns)  # [W·b], -1: another rank's class
        weight = self.rows.weight  # [k, d]
        if self._row_numbers is not None and not self.sparse_update:
            weight = paddle.index_select(weight, paddle.to_tensor(self._row_numbers))
        feature_norms = vector_norms(every_feature)
        centres = weight / vector_norms(weight)
        cosines = paddle.matmul(every_feature / feature_norms, centres, transpose_y=True)

        loss, statistics = paddle.zeros([], cosines.dtype), {}
        for factor, margin in self.losses:
            output = margin(cosines, target, feature_norms)
            term = cross_entropy(output.logits, target)
            if output.extra is not None:
                term = term + reduce_sum_with_grad(output.extra)
            loss = loss + factor * term
            statistics.update(output.statistics)
        return HeadOutput(loss, statistics)

    def end_step(self) -> None:
        """Put the rows back, updated or not."""
        assert self.rows is not None
        self.rows.weight.clear_gradient()
        self.centres.put(self.rows)
        self.rows = None
