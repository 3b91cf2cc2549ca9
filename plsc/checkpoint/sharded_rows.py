"""Rows that are split over the ranks, to files and back piece by piece: in memory once only."""

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
import paddle

from plsc.checkpoint.sharded_files import Piece
from plsc.distributed.joint_work import JointWork
from plsc.distributed.sharding import RowShard
from plsc.files.tensor_file import RowSource


class StoredRows(Protocol):
    """Rows of this rank, with their optimizer state, as a checkpoint reads and writes them.

    Attributes:
        stem: what their files begin with.
        count_key: what a checkpoint's state calls the number of rows of all ranks.
        shard: which rows this rank owns.
        dim: numbers in a row.
        block: more than 1 where rows are best read and written by whole zones.
        zone: neighbouring rows whose changes count together.
        changed: [zones] bool, zones that have been written to since `mark_saved`.

    """

    stem: str
    count_key: str
    shard: RowShard
    dim: int
    block: int
    zone: int
    changed: np.ndarray

    @property
    def names(self) -> list[str]:
        """`weight` and the names of the optimizer state."""

    @property
    def dtype(self) -> str:
        """Return what is stored: float32, float16 or bfloat16."""

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows start..stop of tensor `name` as stored, a copy."""

    def write(self, name: str, values: np.ndarray, start: int = 0) -> None:
        """Replace the rows from `start` on of tensor `name`."""

    def mark_saved(self) -> None:
        """Forget which rows have changed."""


class _StoredTensor:
    """One tensor of the rows as RowSource; may be read in any thread."""

    def __init__(self, stored: StoredRows, name: str):
        self._stored, self._name = stored, name
        self.shape, self.dtype = (stored.shard.num_local, stored.dim), stored.dtype
        self._device = paddle.get_device()
        self._zone = -1  # the one in memory
        self._values = np.empty(0)

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        paddle.set_device(self._device)  # a new thread would begin on the first device
        start, stop, _ = rows.indices(self.shape[0])
        if not _in_zones(self._stored):
            return self._stored.read(self._name, start, stop)
        zone = self._stored.zone
        parts = [
            self._in_zone(number, start, stop) for number in range(start // zone, -(-stop // zone))
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _in_zone(self, number: int, start: int, stop: int) -> np.ndarray:
        """Return those of rows start..stop that are in a zone."""
        zone = self._stored.zone
        first, end = number * zone, min((number + 1) * zone, self.shape[0])
        if number != self._zone:
            self._zone, self._values = number, self._stored.read(self._name, first, end)
        rows = self._values[max(start - first, 0) : min(stop, end) - first]
        if stop >= end:  # whoever goes on from here needs the memory for another
            self._zone, self._values = -1, np.empty(0)
        return rows


def _in_zones(stored: StoredRows) -> bool:
    """Tell whether rows are to be read and written by whole zones.

    In a file neighbouring classes lie anywhere in their zone: to get at some of them is to get at
    all its pages.
    """
    return stored.block > 1


def _whole_zones(stored: StoredRows, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Yield all rows, a zone at a time; a zone is valid until the next is asked for."""
    first, done, zone = stored.shard.start, 0, np.empty((0, stored.dim))
    for _, rows in pieces:
        while len(rows):
            if not done:
                size = min(stored.zone, stored.shard.stop - first)
                zone = zone if len(zone) == size else np.empty((size, stored.dim), rows.dtype)
            count = min(len(rows), len(zone) - done)
            zone[done : done + count] = rows[:count]
            rows, done = rows[count:], done + count
            if done == len(zone):
                yield first, zone
                first, done = first + len(zone), 0


def rows_of(stored: StoredRows) -> dict[str, RowSource]:
    """Return `weight` and the optimizer state, to be read piece by piece."""
    return {name: _StoredTensor(stored, name) for name in stored.names}


def fill(stored: StoredRows, tensors: Mapping[str, Iterator[Piece]], *, purpose: str) -> None:
    """Write this rank's rows, in order; called by all ranks together.

    Args:
        stored: where they go.
        tensors: pieces by name: number of the first row among those of all ranks, and rows as
            they are stored.
        purpose: begins the message of the error.

    Raises:
        UserError: a rank could not read its own.

    """

    def steps() -> Iterator[None]:
        for name, pieces in tensors.items():
            end = stored.shard.start
            for first, rows in _whole_zones(stored, pieces) if _in_zones(stored) else pieces:
                stored.write(name, rows, first - stored.shard.start)
                end = first + len(rows)
                yield
            assert end == stored.shard.stop, name

    work = JointWork(purpose)
    work.in_lockstep(steps())
    work.raise_failures()
