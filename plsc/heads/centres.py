"""The one owner of class centres and of their optimizer state."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import paddle
from paddle import Tensor

from plsc.distributed.sharding import ClassShard
from plsc.heads.gradient import RowGradient, chunks
from plsc.heads.stores import HostRows, RowStore

WEIGHT = "weight"
INIT_STD = 0.01
INIT_BLOCK = 4096  # classes whose initial values come from one generator
NORM_EPSILON = 1e-12  # keeps the derivative of the norm finite at the zero vector


class RowUpdate(Protocol):
    """An optimizer step on some rows, in place: weight [n, d], its gradient, its state by name."""

    def __call__(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor]) -> None:
        """Change weight and state."""


@dataclass
class Rows:
    """Rows taken out for one step.

    Attributes:
        numbers: [k] int64, ascending; None for all rows.
        weight: [k, d], as the step found them.
        norms: [k].
        gradient: what backward finds.

    """

    numbers: np.ndarray | None
    weight: Tensor
    norms: Tensor
    gradient: RowGradient


def vector_norms(vectors: Tensor) -> Tensor:
    """L2 norms [n, 1] of [n, d], differentiable at zero."""
    return paddle.sqrt((vectors * vectors).sum(axis=1, keepdim=True) + NORM_EPSILON)


def initial_centres(shard: ClassShard, dim: int, *, seed: int) -> Iterator[tuple[int, np.ndarray]]:
    """N(0, 0.01) rows as (first local class, [n, dim] float32) pieces.

    A class's row does not depend on the split over ranks.
    """
    first, last = shard.start // INIT_BLOCK, max(shard.stop - 1, 0) // INIT_BLOCK
    for block in range(first, last + 1):
        start, stop = block * INIT_BLOCK, (block + 1) * INIT_BLOCK
        values = np.random.default_rng([seed, block]).standard_normal(
            (INIT_BLOCK, dim), dtype=np.float32
        )
        values *= INIT_STD
        low, high = max(start, shard.start), min(stop, shard.stop)
        yield low - shard.start, values[low - start : high - start]


class ClassCentres:
    """This rank's rows [num_local, dim]: `weight`, and one tensor of that shape per state name.

    Classes are local numbers here, 0 <= class < shard.num_local. `take` and `update` are what a
    step needs, `read` and `write` what a checkpoint needs.

    Args:
        shard: the classes that this rank owns.
        stores: the tensors by name, `weight` first.

    """

    block = 1  # rows that are best drawn together; see sampling

    def __init__(self, shard: ClassShard, dim: int, stores: Mapping[str, RowStore]):
        self.shard, self.dim, self._stores = shard, dim, dict(stores)

    @classmethod
    def of(
        cls, shard: ClassShard, weight: np.ndarray, *, state_names: Collection[str]
    ) -> "ClassCentres":
        """Centres in memory that begin as `weight` [num_local, d], with zero optimizer state."""
        made = cls.zeros(shard, weight.shape[1], state_names=state_names, dtype=str(weight.dtype))
        made.write(WEIGHT, weight)
        return made

    @classmethod
    def zeros(
        cls, shard: ClassShard, dim: int, *, state_names: Collection[str], dtype: str = "float32"
    ) -> "ClassCentres":
        """Centres in memory, all zero."""
        shape = (shard.num_local, dim)
        return cls(
            shard, dim, {name: HostRows(np.zeros(shape, dtype)) for name in (WEIGHT, *state_names)}
        )

    @property
    def names(self) -> list[str]:
        """`weight` and the names of the optimizer state."""
        return list(self._stores)

    def numbers_of(self, classes: np.ndarray) -> np.ndarray:
        """Row number of each class [n]."""
        return classes

    @paddle.no_grad()
    def take(self, numbers: np.ndarray | None) -> Rows:
        """The rows `numbers` (ascending, distinct), or all if it is None, for a step."""
        weight = self._stores[WEIGHT].take(slice(None) if numbers is None else numbers)
        parts = [vector_norms(weight[start:stop])[:, 0] for start, stop in chunks(len(weight))]
        norms = paddle.concat(parts) if parts else paddle.zeros([0], weight.dtype)
        return Rows(numbers, weight, norms, RowGradient(weight, norms))

    @paddle.no_grad()
    def update(self, rows: Rows, update: RowUpdate, *, idle: bool = False) -> None:
        """Apply `update` to rows that `take` gave; with `idle`, to all others too (gradient 0)."""
        for numbers, weight, gradient in self._idle(rows) if idle else self._taken(rows):
            names = [name for name in self._stores if name != WEIGHT]
            state = {name: self._stores[name].take(numbers) for name in names}
            update(weight, gradient, state)
            for name, values in {WEIGHT: weight, **state}.items():
                self._stores[name].put(numbers, values)

    def _taken(self, rows: Rows) -> Iterator[tuple[np.ndarray | slice, Tensor, Tensor]]:
        for start, stop in chunks(len(rows.weight)):
            numbers = slice(start, stop) if rows.numbers is None else rows.numbers[start:stop]
            yield numbers, rows.weight[start:stop], rows.gradient.rows(start, stop)

    def _idle(self, rows: Rows) -> Iterator[tuple[slice, Tensor, Tensor]]:
        taken = np.arange(self.shard.num_local) if rows.numbers is None else rows.numbers
        for start, stop in chunks(self.shard.num_local):
            low, high = np.searchsorted(taken, [start, stop])
            weight = self._stores[WEIGHT].take(slice(start, stop))
            gradient = paddle.zeros_like(weight)
            if low < high:
                where = paddle.to_tensor(taken[low:high] - start)
                paddle.scatter_(gradient, where, rows.gradient.rows(low, high), overwrite=True)
            yield slice(start, stop), weight, gradient

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Classes start..stop of tensor `name`: [n, d], a copy."""
        return self._stores[name].read(start, self.shard.num_local if stop is None else stop)

    def write(self, name: str, values: np.ndarray, start: int = 0) -> None:
        """Replace the classes from `start` on of tensor `name` by `values` [n, d]."""
        assert values.shape[1] == self.dim and start + len(values) <= self.shard.num_local
        self._stores[name].write(start, values)
