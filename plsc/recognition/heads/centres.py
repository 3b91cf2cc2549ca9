"""Own the class centres of a rank and their optimizer state."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import paddle
from paddle import Tensor

from plsc.checkpoint.sharded_files import WEIGHT
from plsc.distributed.sharding import RowShard
from plsc.files.rounding import NUMPY_DTYPES, Stored, decode, round_nearest
from plsc.nn.device import on_cpu
from plsc.optimizer.rule import RowUpdate
from plsc.recognition.heads.gradient import RowGradient, chunks
from plsc.recognition.heads.prefetch import Prefetcher
from plsc.recognition.heads.row_order import ZONE, RowOrder
from plsc.recognition.heads.stores import ArrayRows, HostRows, RowNumbers, RowStore, to_device

NORM_EPSILON = 1e-12  # keeps the derivative of the norm finite at the zero vector


@dataclass
class SampledRows:
    """Class centres that take part in one step.

    Attributes:
        numbers: [k] int64 row numbers, ascending; None for all rows.
        weight: [k, d] values at the start of the step.
        norms: [k] L2 norms of the rows.
        gradient: sum of what backward computes.
        state: [k, d] optimizer state by name, as stored; empty unless it was prefetched.

    """

    numbers: np.ndarray | None
    weight: Tensor
    norms: Tensor
    gradient: RowGradient
    state: dict[str, Stored] = field(default_factory=dict)


# A piece of rows for the optimizer: numbers, weight, gradient and state.
_RowsToUpdate = tuple[RowNumbers, Tensor, Tensor, dict[str, Tensor]]


def vector_norms(vectors: Tensor) -> Tensor:
    """Return L2 norms [n, 1] of [n, d], differentiable at zero."""
    return paddle.sqrt((vectors * vectors).sum(axis=1, keepdim=True) + NORM_EPSILON)


def _row_norms(rows: Tensor) -> Tensor:
    """Return L2 norms [k] of rows [k, d], equal to those of `vector_norms`."""
    pieces = (paddle.square(rows[start:stop]) for start, stop in chunks(len(rows)))
    if on_cpu():  # a product with ones takes a quarter of the time of sum()
        ones = paddle.ones([rows.shape[1]], rows.dtype)
        parts = [paddle.mv(piece, ones) for piece in pieces]
    else:
        parts = [piece.sum(axis=1) for piece in pieces]
    return paddle.sqrt(paddle.concat(parts) + NORM_EPSILON) if parts else rows[:, 0]


class ClassCentres:
    """Rows [num_local, dim] of this rank: `weight`, and one tensor of that shape per state name.

    Classes are local numbers here, 0 <= class < shard.num_local. A step calls `take` and `update`;
    a checkpoint calls `read` and `write`.

    Attributes:
        stem: prefix of the checkpoint's files that hold these rows.
        count_key: key of the number of classes in a checkpoint's state.
        block: number of neighbouring rows to sample together; see `sample_rows`.
        prefetches: true if `prefetch` has an effect.
        changed: [zones] bool; true for zones of `zone` neighbouring classes that were written
            since `mark_saved`, and for all zones at first.

    """

    stem, count_key = "head", "num_classes"

    def __init__(
        self,
        shard: RowShard,
        dim: int,
        stores: Mapping[str, RowStore],
        *,
        order: RowOrder | None = None,
        block: int = 1,
        prefetch: bool = False,
        zone: int = ZONE,
    ):
        """Take over `stores`.

        Args:
            shard: the classes that this rank owns.
            dim: length of a class centre.
            stores: the tensors by name, `weight` first.
            order: maps classes to rows; None if row and class numbers are the same.
            block: see the class.
            prefetch: read the next step's rows in a thread; for stores with slow reads.
            zone: see the class; ignored if there is an `order`, which has its own.

        """
        self.shard, self.dim, self.block = shard, dim, block
        self._stores, self._order = dict(stores), order
        self.zone = order.zone if order else zone
        self.changed = np.ones(-(-shard.num_local // self.zone), bool)
        arrays = {name: rows for name, rows in stores.items() if isinstance(rows, ArrayRows)}
        self._ahead = Prefetcher(arrays) if prefetch else None
        self._room: Tensor | None = None

    @classmethod
    def of(
        cls, shard: RowShard, weight: np.ndarray, *, state_names: Collection[str]
    ) -> "ClassCentres":
        """Return centres in memory with `weight` [num_local, d] and an optimizer state of zeros."""
        dtype = str(weight.dtype)
        centres = cls.zeros(shard, weight.shape[1], state_names=state_names, dtype=dtype)
        centres.write(WEIGHT, weight)
        return centres

    @classmethod
    def zeros(
        cls, shard: RowShard, dim: int, *, state_names: Collection[str], dtype: str = "float32"
    ) -> "ClassCentres":
        """Return centres in memory, all zero."""
        shape, stored = (shard.num_local, dim), NUMPY_DTYPES[dtype]
        names = (WEIGHT, *state_names)
        return cls(shard, dim, {name: HostRows(np.zeros(shape, stored)) for name in names})

    @property
    def names(self) -> list[str]:
        """Return `weight` and the names of the optimizer state."""
        return list(self._stores)

    @property
    def dtype(self) -> str:
        """Return the stored dtype: float32, float16 or bfloat16."""
        return self._stores[WEIGHT].dtype

    @property
    def prefetches(self) -> bool:
        """See the class."""
        return self._ahead is not None

    def numbers_of(self, classes: np.ndarray) -> np.ndarray:
        """Return the row number of each class [n]."""
        return self._order.rows(classes) if self._order else classes

    def prefetch(self, numbers: np.ndarray) -> None:
        """Start reading rows that the next `take` will probably ask for."""
        if self._ahead is not None:
            self._ahead.start(numbers)

    @paddle.no_grad()
    def take(self, numbers: np.ndarray | None) -> SampledRows:
        """Return the rows `numbers` (ascending, distinct; None for all) for a step.

        The next call may reuse the memory of the result.
        """
        state = self._ahead.take(numbers) if self._ahead is not None else None
        if numbers is None:
            self._room = None  # a sample ratio that has reached 1 stays there
        room = None if numbers is None else self._room_for(len(numbers))
        if state is not None:
            weight = to_device(state.pop(WEIGHT), room)
        else:
            weight = self._stores[WEIGHT].take(slice(None) if numbers is None else numbers, room)
        norms = _row_norms(weight)
        return SampledRows(numbers, weight, norms, RowGradient(weight, norms), state or {})

    def _room_for(self, num_rows: int) -> Tensor | None:
        """Return memory for the rows of a step on a CPU, the same memory in every step.

        Allocating memory for 100,000 rows costs more than filling it. If the memory were freed,
        the C library would give parts of it to smaller tensors, and the process would grow.
        """
        if not on_cpu():
            return None
        if self._room is None or len(self._room) < num_rows:
            self._room = None  # free the old memory before allocating the new
            dtype = "float64" if self.dtype == "float64" else "float32"
            self._room = paddle.empty([num_rows, self.dim], dtype)
        return self._room[:num_rows]

    @paddle.no_grad()
    def update(
        self, rows: SampledRows, update: RowUpdate, *, idle: bool = False, key: Sequence[int] = (0,)
    ) -> None:
        """Apply `update` to the rows of `take`; with `idle`, also to all others (zero gradient).

        `key` seeds the stochastic rounding to half precision and must differ from step to step.
        """
        if idle or rows.numbers is None:
            self.changed[:] = True
            if self._ahead is not None:
                self._ahead.discard()
        else:
            self.changed[rows.numbers // self.zone] = True
            if self._ahead is not None:
                self._ahead.note(rows.numbers)
        pieces = self._pieces_of_all(rows) if idle else self._pieces_of(rows)
        for piece, (numbers, weight, gradient, state) in enumerate(pieces):
            update(weight, gradient, state)
            for tensor, (name, values) in enumerate({WEIGHT: weight, **state}.items()):
                bits = (*key, self.shard.rank, tensor, piece)
                self._stores[name].put(numbers, values, key=bits)

    def _state(self, numbers: RowNumbers) -> dict[str, Tensor]:
        return {name: self._stores[name].take(numbers) for name in self.names if name != WEIGHT}

    def _pieces_of(self, rows: SampledRows) -> Iterator[_RowsToUpdate]:
        for start, stop in chunks(len(rows.weight)):
            numbers = slice(start, stop) if rows.numbers is None else rows.numbers[start:stop]
            if rows.state:
                state = {name: to_device(part[start:stop]) for name, part in rows.state.items()}
            else:
                state = self._state(numbers)
            yield numbers, rows.weight[start:stop], rows.gradient.rows(start, stop), state

    def _pieces_of_all(self, rows: SampledRows) -> Iterator[_RowsToUpdate]:
        sampled = np.arange(self.shard.num_local) if rows.numbers is None else rows.numbers
        for start, stop in chunks(self.shard.num_local):
            low, high = np.searchsorted(sampled, [start, stop])
            weight = self._stores[WEIGHT].take(slice(start, stop))
            gradient = paddle.zeros_like(weight)
            if low < high:
                places = paddle.to_tensor(sampled[low:high] - start)
                paddle.scatter_(gradient, places, rows.gradient.rows(low, high), overwrite=True)
            yield slice(start, stop), weight, gradient, self._state(slice(start, stop))

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Stored:
        """Return a copy [n, d] of `name`, as stored, for classes start..stop; see `decode`."""
        classes = slice(start, self.shard.num_local if stop is None else stop)
        if self._order is None:
            return self._stores[name].read(classes)
        numbers = self._order.rows(classes)
        order = np.argsort(numbers)
        values = self._stores[name].read(numbers[order])
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return values[back]

    def write(self, name: str, values: np.ndarray, start: int = 0) -> None:
        """Replace tensor `name` by `values` [n, d] for the n classes from `start` on.

        Values of another dtype than the stored one are rounded to the nearest.
        """
        stop = start + len(values)
        assert values.shape[1] == self.dim and stop <= self.shard.num_local
        if self._ahead is not None:
            self._ahead.discard()
        self.changed[start // self.zone : -(-stop // self.zone)] = True
        store = self._stores[name]
        if values.dtype != NUMPY_DTYPES[store.dtype]:
            values = round_nearest(decode(values), store.dtype)
        if self._order is None:
            store.write(slice(start, stop), values)
            return
        numbers = self._order.rows(slice(start, stop))
        order = np.argsort(numbers)
        store.write(numbers[order], values[order])

    def mark_saved(self) -> None:
        """Mark all classes as unchanged."""
        self.changed[:] = False
