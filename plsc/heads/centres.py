"""The one owner of class centres and of their optimizer state."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import Tensor

from plsc.distributed.sharding import ClassShard

INIT_STD = 0.01
INIT_BLOCK = 4096  # classes whose initial values come from one generator


@dataclass
class Rows:
    """Rows taken out for one step.

    Attributes:
        index: [k] int64 local rows, ascending; None for all rows.
        weight: [k, d] leaf tensor that collects the gradient.
        state: optimizer state by name, [k, d] each.

    """

    index: Tensor | None
    weight: Tensor
    state: dict[str, Tensor]


def initial_centres(shard: ClassShard, dim: int, *, seed: int) -> np.ndarray:
    """N(0, 0.01) rows [num_local, dim] float32; a class's row does not depend on the split."""
    first, last = shard.start // INIT_BLOCK, max(shard.stop - 1, 0) // INIT_BLOCK
    rows = np.empty((shard.num_local, dim), np.float32)
    for block in range(first, last + 1):
        start, stop = block * INIT_BLOCK, (block + 1) * INIT_BLOCK
        values = np.random.default_rng([seed, block]).standard_normal(
            (INIT_BLOCK, dim), dtype=np.float32
        )
        low, high = max(start, shard.start), min(stop, shard.stop)
        rows[low - shard.start : high - shard.start] = values[low - start : high - start]
    rows *= INIT_STD
    return rows


class ClassCentres:
    """This rank's rows [num_local, dim] with one state tensor of that shape per state name.

    `take` and `put` are all that a step needs, so that rows may come to live elsewhere.
    """

    def __init__(self, shard: ClassShard, weight: np.ndarray, *, state_names: Sequence[str]):
        assert weight.shape[0] == shard.num_local
        self.shard = shard
        self.dim = weight.shape[1]
        self._tensors = {"weight": paddle.to_tensor(weight, stop_gradient=True)}
        for name in state_names:
            self._tensors[name] = paddle.zeros_like(self._tensors["weight"])

    @property
    def names(self) -> list[str]:
        """`weight` and the names of the optimizer state."""
        return list(self._tensors)

    def take(self, index: np.ndarray | None) -> Rows:
        """Copies of the rows `index` (ascending, distinct); the rows themselves if it is None."""
        if index is None:
            taken, where = {name: tensor.detach() for name, tensor in self._tensors.items()}, None
        else:
            where = paddle.to_tensor(index)
            taken = {
                name: paddle.index_select(tensor, where) for name, tensor in self._tensors.items()
            }
        weight = taken.pop("weight")
        weight.stop_gradient = False
        return Rows(where, weight, taken)

    def put(self, rows: Rows) -> None:
        """Write back rows that `take` gave and an optimizer changed in place."""
        if rows.index is None:
            return  # `take` shared the memory
        for name, values in {"weight": rows.weight.detach(), **rows.state}.items():
            paddle.scatter_(self._tensors[name], rows.index, values, overwrite=True)

    def read(self, name: str) -> np.ndarray:
        """Tensor `name` ([num_local, dim]) as an array, for a checkpoint."""
        return self._tensors[name].numpy()

    def write(self, name: str, values: np.ndarray) -> None:
        """Replace tensor `name` by `values` [num_local, dim]."""
        assert list(values.shape) == self._tensors[name].shape
        self._tensors[name].set_value(values)
