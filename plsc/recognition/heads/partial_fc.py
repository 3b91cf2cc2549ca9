"""Partial FC: margin softmax over class centres that are split over the ranks and sampled."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from plsc.distributed.collectives import gather_arrays, gather_with_grad, reduce_sum_with_grad
from plsc.optimizer.rule import RowUpdate
from plsc.recognition.heads.centres import ClassCentres, SampledRows, vector_norms
from plsc.recognition.heads.sampling import RatioSchedule, columns_of, ratio_at, sample_rows
from plsc.recognition.losses.interclass import filter_similar
from plsc.recognition.losses.margin import Margin
from plsc.recognition.losses.matrices import column_sums, multiply_, product
from plsc.recognition.losses.softmax import cross_entropy


@dataclass
class HeadOutput:
    """The loss of the global batch and scalars to log, the same on every rank.

    If several losses report a scalar of the same name, the first loss keeps the name and the k-th
    loss appends `_k` to it. The scalars are not weighted.
    """

    loss: Tensor
    statistics: dict[str, Tensor] = field(default_factory=dict)


class _Cosines(PyLayer):
    """Unit vectors [n, d] -> cosines [n, k] with the rows in use.

    Backward adds the gradient of the rows to `rows.gradient`: with c = f·W/‖W‖,
    dc/dW = f/‖W‖ − c·W/‖W‖². The norms divide the [n, k] cosines, not the [k, d] rows.
    """

    @staticmethod
    def forward(ctx, units, rows):
        inverse = 1.0 / rows.norms
        cosines = multiply_(product(units, rows.weight), inverse)
        ctx.rows, ctx.inverse = rows, inverse
        ctx.saved = units, cosines.detach()
        return cosines

    @staticmethod
    def backward(ctx, gradient):
        units, cosines = ctx.saved
        ctx.saved = None  # the loss keeps this ctx until the step is over
        rows, inverse = ctx.rows, ctx.inverse
        # Work in place, because allocating this much memory costs more than the arithmetic. This is
        # safe: everything that used the cosines has run backward, and nothing else holds their
        # gradient.
        pull = column_sums(cosines.multiply_(gradient)) * paddle.square(inverse)
        del cosines
        scaled_gradient = multiply_(gradient, inverse)
        rows.gradient.add(scaled_gradient, units, pull)
        return paddle.matmul(scaled_gradient, rows.weight)


def _gather_labels(labels: np.ndarray) -> np.ndarray:
    """Gather the labels [n] of each rank: [W, n]."""
    return gather_arrays(labels).reshape(-1, len(labels))


class PartialFC:
    """(features [b, d], labels [b]) -> loss of the global batch (arXiv:2010.05222).

    A step is begin_step, the head itself for each micro-batch, update (or not), end_step.

    Args:
        centres: the class centres of this rank.
        losses: (weight, margin) pairs; the head adds their weighted losses.
        sample_ratio: share of the rank's classes that a step uses, in (0, 1], or a schedule of
            shares; see `ratio_at`.
        sparse_update: leave rows that are not sampled unchanged. If false, momentum and weight
            decay continue for them with a zero gradient, at the cost of a dense step.
        seed: seed of the sampling. The rows depend on (seed, step, rank) alone, so a resumed run
            samples the same rows as a run without interruption.
        interclass_filtering_threshold: see `filter_similar`; 0 turns the filter off.
        lr_multiplier: factor on the learning rate of the centres.

    """

    name = "head.weight"  # the state-dict key
    aliases: tuple[str, ...] = (
        "partialfc@dist@rank",
    )  # the parameter's name in PLSC, which its configs may use

    def __init__(
        self,
        centres: ClassCentres,
        losses: Sequence[tuple[float, Margin]],
        *,
        sample_ratio: float | RatioSchedule = 1.0,
        sparse_update: bool = True,
        seed: int = 0,
        interclass_filtering_threshold: float = 0.0,
        lr_multiplier: float = 1.0,
    ):
        self.centres = centres
        self.losses = losses
        self.sample_ratio = sample_ratio
        self.sparse_update = sparse_update
        self.seed = seed
        self.interclass_filtering_threshold = interclass_filtering_threshold
        self.lr_multiplier = lr_multiplier
        self.rows: SampledRows | None = None
        self._labels = np.empty((1, 0), np.int64)  # [W, n], gathered by begin_step
        self._used = 0  # how many of the n labels micro-batches have used
        self._step = 0
        self._upcoming: tuple[int, np.ndarray] | None = None  # step and labels, from prefetch

    def ratio(self, fraction: float = 0.0) -> float:
        """Return the sample ratio at this fraction of training, in [0, 1]."""
        return ratio_at(self.sample_ratio, fraction)

    def num_sample(self, fraction: float = 0.0) -> int:
        """Return the number of centres that a step uses, unless the batch has more classes."""
        return max(1, int(self.ratio(fraction) * self.centres.shard.num_local))

    def begin_step(self, labels: np.ndarray, *, step: int, fraction: float = 0.0) -> None:
        """Gather the labels of a step and sample rows for all its micro-batches.

        Args:
            labels: [n] labels of this rank; n is the same on every rank.
            step: number of optimizer steps taken before this one.
            fraction: completed fraction of training.

        """
        prefetched, self._upcoming = self._upcoming, None
        if prefetched and prefetched[0] == step:
            self._labels = prefetched[1]
        else:
            self._labels = _gather_labels(labels)
        self._used, self._step = 0, step
        self.use_rows(self.sample(self._labels.ravel(), step=step, fraction=fraction))

    def prefetch(self, labels: np.ndarray, *, step: int, fraction: float = 0.0) -> None:
        """Start reading the rows of the next step while this step computes.

        The call only saves time in the next `begin_step`, whose arguments it takes.
        """
        if self.centres.prefetches and self.sparse_update:
            all_labels = _gather_labels(labels)
            self._upcoming = step, all_labels  # begin_step need not gather them again
            numbers = self.sample(all_labels.ravel(), step=step, fraction=fraction)
            if numbers is not None:
                self.centres.prefetch(numbers)

    def sample(self, labels: np.ndarray, *, step: int, fraction: float = 0.0) -> np.ndarray | None:
        """Return the row numbers of a step for labels [n] of all ranks; None means all rows."""
        if self.ratio(fraction) >= 1.0:
            return None
        shard = self.centres.shard
        numbers = self._numbers_of(labels)
        return sample_rows(
            np.unique(numbers[numbers >= 0]),
            num_rows=shard.num_local,
            num_sample=self.num_sample(fraction),
            generator=np.random.default_rng([self.seed, step, shard.rank]),
            block=self.centres.block,
        )

    def use_rows(self, numbers: np.ndarray | None) -> None:
        """Use these rows (ascending, distinct) in the step; None means all rows."""
        self.rows = self.centres.take(numbers)

    def __call__(self, features: Tensor, labels: np.ndarray) -> HeadOutput:
        """Return the loss of this rank's features [b, d] and labels [b], in the centres' dtype.

        The labels must be the next b of the labels that `begin_step` took.
        """
        rows = self.rows
        assert rows is not None, "begin_step comes first"
        all_features = gather_with_grad(features.astype(rows.weight.dtype))  # [W·b, d]
        numbers = self._numbers_of(self._labels_of_all_ranks(labels))
        target = paddle.to_tensor(columns_of(numbers, rows.numbers))  # [W·b], -1: another rank's
        feature_norms = vector_norms(all_features)
        units = all_features / feature_norms
        units.stop_gradient = False  # with a frozen backbone, too, the rows need their gradient
        cosines = _Cosines.apply(units, rows)  # [W·b, k]
        if self.interclass_filtering_threshold > 0:
            cosines = filter_similar(cosines, target, self.interclass_filtering_threshold)

        loss, statistics = paddle.zeros([], cosines.dtype), {}
        for number, (factor, margin) in enumerate(self.losses, 1):
            output = margin(cosines, target, feature_norms)
            term = cross_entropy(output.logits, target, reuse=output.reusable)
            scalars = output.statistics
            if output.extra is not None:
                scalars = {"loss_id": term.detach(), **scalars}  # without the regulariser
                term = term + reduce_sum_with_grad(output.extra)
            loss = loss + factor * term
            for name, value in scalars.items():
                statistics[f"{name}_{number}" if name in statistics else name] = value
        return HeadOutput(loss, statistics)

    def _labels_of_all_ranks(self, labels: np.ndarray) -> np.ndarray:
        """Return all ranks' labels [W·b] of this micro-batch, as begin_step gathered them."""
        part = self._labels[:, self._used : self._used + len(labels)]
        self._used += len(labels)
        assert np.array_equal(part[self.centres.shard.rank], labels), "not begin_step's labels"
        return part.ravel()

    def _numbers_of(self, labels: np.ndarray) -> np.ndarray:
        """Return row numbers of labels [n] (global classes); -1 for classes of another rank."""
        shard = self.centres.shard
        owned = shard.owns(labels)
        numbers = np.full(len(labels), -1, np.int64)
        numbers[owned] = self.centres.numbers_of(labels[owned] - shard.start)
        return numbers

    @property
    def stored(self) -> ClassCentres:
        """Return the class centres that a checkpoint stores."""
        return self.centres

    def squared_norm(self) -> Tensor:
        """Return the squared norm, a scalar, of the gradient of this rank's sampled rows."""
        assert self.rows is not None
        return self.rows.gradient.squared_norm()

    def update(self, rule: RowUpdate) -> None:
        """Apply the optimizer's rule to the sampled rows."""
        assert self.rows is not None
        key = (self.seed, self._step)
        self.centres.update(self.rows, rule, idle=not self.sparse_update, key=key)

    def end_step(self) -> None:
        """Release the rows of the step."""
        self.rows = None
