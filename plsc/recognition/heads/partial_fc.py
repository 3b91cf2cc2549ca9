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
    """The loss of the global batch and scalars to log of it, the same on every rank.

    Of scalars that several losses have, those of the first keep the name; those of the k-th get
    `_k` behind it. They are unweighted.
    """

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
        cosines = multiply_(product(units, rows.weight), inverse)
        ctx.rows, ctx.inverse = rows, inverse
        ctx.saved = units, cosines.detach()
        return cosines

    @staticmethod
    def backward(ctx, gradient):
        units, cosines = ctx.saved
        ctx.saved = None  # the loss keeps this ctx until the step is over
        rows, inverse = ctx.rows, ctx.inverse
        # Work in place: allocating this much memory costs more than the arithmetic. It is safe, as
        # backward of all that used the cosines has run and nothing else holds their gradient.
        pull = column_sums(cosines.multiply_(gradient)) * paddle.square(inverse)
        del cosines
        left = multiply_(gradient, inverse)
        rows.gradient.add(left, units, pull)
        return paddle.matmul(left, rows.weight)


def _of_all_ranks(labels: np.ndarray) -> np.ndarray:
    """Gather the labels [n] of each rank: [W, n]."""
    return gather_arrays(labels).reshape(-1, len(labels))


class PartialFC:
    """(features [b, d], labels [b]) -> loss of the global batch (arXiv:2010.05222).

    A step is begin_step, the head itself for each micro-batch, update (or not), end_step.

    Args:
        centres: this rank's class centres.
        losses: (weight, margin) pairs; their weighted losses are added.
        sample_ratio: share of the rank's classes used in a step, in (0, 1]; or how it changes, see
            `ratio_at`.
        sparse_update: whether rows that are not sampled stay as they are; otherwise momentum and
            weight decay go on for them with a zero gradient, at the cost of a dense step.
        seed: of the sampling; rows are a function of (seed, step, rank) alone, so a resumed run
            draws what the first would have drawn.
        interclass_filtering_threshold: see `filter_similar`; 0 for none.
        lr_multiplier: the centres learn at the learning rate times this.

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
        self._labels = np.empty((1, 0), np.int64)  # [W, n] of the step that begin_step began
        self._used = 0  # of these n, by micro-batches
        self._step = 0
        self._upcoming: tuple[int, np.ndarray] | None = None  # step and labels, from prefetch

    def ratio(self, fraction: float = 0.0) -> float:
        """Return the sample ratio when this fraction of training is done."""
        return ratio_at(self.sample_ratio, fraction)

    def num_sample(self, fraction: float = 0.0) -> int:
        """Return how many centres a step uses then, unless the batch holds more classes."""
        return max(1, int(self.ratio(fraction) * self.centres.shard.num_local))

    def begin_step(self, labels: np.ndarray, *, step: int, fraction: float = 0.0) -> None:
        """Share the labels of a step and sample for them, once for all its micro-batches.

        Args:
            labels: [n] of this rank, as many as of every other.
            step: optimizer steps taken before.
            fraction: of training that is done.

        """
        known, self._upcoming = self._upcoming, None
        self._labels = known[1] if known and known[0] == step else _of_all_ranks(labels)
        self._used, self._step = 0, step
        self.use_rows(self.sample(self._labels.ravel(), step=step, fraction=fraction))

    def prefetch(self, labels: np.ndarray, *, step: int, fraction: float = 0.0) -> None:
        """Begin to read the rows of the step whose begin_step comes next, while this one computes.

        It saves time in that begin_step and changes nothing else. Arguments as begin_step's.
        """
        if self.centres.prefetches and self.sparse_update:
            every = _of_all_ranks(labels)
            self._upcoming = step, every  # they need not travel again
            numbers = self.sample(every.ravel(), step=step, fraction=fraction)
            if numbers is not None:
                self.centres.prefetch(numbers)

    def sample(self, labels: np.ndarray, *, step: int, fraction: float = 0.0) -> np.ndarray | None:
        """Return row numbers for a step on these labels [n] of all ranks; None: all rows."""
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
        """Use these rows (ascending, distinct) in the step; None: all of them."""
        self.rows = self.centres.take(numbers)

    def __call__(self, features: Tensor, labels: np.ndarray) -> HeadOutput:
        """Return the loss of this rank's features [b, d] and labels [b], in the centres' dtype.

        The labels are the next of those that begin_step was given.
        """
        rows = self.rows
        assert rows is not None, "begin_step comes first"
        every_feature = gather_with_grad(features.astype(rows.weight.dtype))  # [W·b, d]
        numbers = self._numbers_of(self._labels_of_all_ranks(labels))
        target = paddle.to_tensor(columns_of(numbers, rows.numbers))  # [W·b], -1: another rank's
        feature_norms = vector_norms(every_feature)
        units = every_feature / feature_norms
        units.stop_gradient = False  # the rows' gradient is found on the way to a frozen backbone's
        cosines = _Cosines.apply(units, rows)  # [W·b, k]
        if self.interclass_filtering_threshold > 0:
            cosines = filter_similar(cosines, target, self.interclass_filtering_threshold)

        loss, statistics = paddle.zeros([], cosines.dtype), {}
        for number, (factor, margin) in enumerate(self.losses, 1):
            output = margin(cosines, target, feature_norms)
            term = cross_entropy(output.logits, target, reuse=output.reusable)
            said = output.statistics
            if output.extra is not None:
                said = {"loss_id": term.detach(), **said}  # identity, without the regulariser
                term = term + reduce_sum_with_grad(output.extra)
            loss = loss + factor * term
            for name, value in said.items():
                statistics[f"{name}_{number}" if name in statistics else name] = value
        return HeadOutput(loss, statistics)

    def _labels_of_all_ranks(self, labels: np.ndarray) -> np.ndarray:
        """Return all ranks' labels [W·b] of this micro-batch, which begin_step has gathered."""
        part = self._labels[:, self._used : self._used + len(labels)]
        self._used += len(labels)
        assert np.array_equal(part[self.centres.shard.rank], labels), "not begin_step's labels"
        return part.ravel()

    def _numbers_of(self, labels: np.ndarray) -> np.ndarray:
        """Return row numbers of labels [n] (global classes); -1 where another rank owns one."""
        shard = self.centres.shard
        owned = shard.owns(labels)
        numbers = np.full(len(labels), -1, np.int64)
        numbers[owned] = self.centres.numbers_of(labels[owned] - shard.start)
        return numbers

    @property
    def stored(self) -> ClassCentres:
        """Return the class centres, as a checkpoint keeps them."""
        return self.centres

    def squared_norm(self) -> Tensor:
        """Return the squared norm of the gradient of this rank's rows in use, a scalar."""
        assert self.rows is not None
        return self.rows.gradient.squared_norm()

    def update(self, rule: RowUpdate) -> None:
        """Apply an optimizer's rule to the rows in use."""
        assert self.rows is not None
        key = (self.seed, self._step)
        self.centres.update(self.rows, rule, idle=not self.sparse_update, key=key)

    def end_step(self) -> None:
        """Release the rows of the step."""
        self.rows = None
