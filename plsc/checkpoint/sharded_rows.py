"""Class centres to files and back piece by piece, so that they are in memory once only."""

from collections.abc import Iterator, Mapping

import numpy as np
import paddle

from plsc.checkpoint.sharded_files import Piece
from plsc.distributed.joint_work import Together
from plsc.files.tensor_file import Rows
from plsc.recognition.heads.centres import ClassCentres


class _StoredRows:
    """A tensor of the head as Rows; may be read in any thread."""

    def __init__(self, centres: ClassCentres, name: str):
        self._centres, self._name = centres, name
        self.shape, self.dtype = (centres.shard.num_local, centres.dim), centres.dtype
        self._device = paddle.get_device()
        self._zone = -1  # the one in memory
        self._values = np.empty(0)

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        paddle.set_device(self._device)  # a new thread would begin on the first device
        start, stop, _ = rows.indices(self.shape[0])
        if not _in_zones(self._centres):
            return self._centres.read(self._name, start, stop)
        zone = self._centres.zone
        parts = [
            self._in_zone(number, start, stop) for number in range(start // zone, -(-stop // zone))
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _in_zone(self, number: int, start: int, stop: int) -> np.ndarray:
        """Those of classes start..stop that are in a zone."""
        zone = self._centres.zone
        first, end = number * zone, min((number + 1) * zone, self.shape[0])
        if number != self._zone:
            self._zone, self._values = number, self._centres.read(self._name, first, end)
        rows = self._values[max(start - first, 0) : min(stop, end) - first]
        if stop >= end:  # whoever goes on from here needs the memory for another
            self._zone, self._values = -1, np.empty(0)
        return rows


def _in_zones(centres: ClassCentres) -> bool:
    """Whether rows are to be read and written by whole zones.

    In a file neighbouring classes lie anywhere in their zone: to get at some of them is to get at
    all its pages.
    """
    return centres.block > 1


def _whole_zones(centres: ClassCentres, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """All rows from the first on, a zone at a time; a zone is valid until the next is asked for."""
    first, done, zone = centres.shard.start, 0, np.empty((0, centres.dim))
    for _, rows in pieces:
        while len(rows):
            if not done:
                size = min(centres.zone, centres.shard.stop - first)
                zone = zone if len(zone) == size else np.empty((size, centres.dim), rows.dtype)
            count = min(len(rows), len(zone) - done)
            zone[done : done + count] = rows[:count]
            rows, done = rows[count:], done + count
            if done == len(zone):
                yield first, zone
                first, done = first + len(zone), 0


def rows_of(centres: ClassCentres) -> dict[str, Rows]:
    """`weight` and the optimizer state, to be read piece by piece."""
    return {name: _StoredRows(centres, name) for name in centres.names}


def fill(centres: ClassCentres, tensors: Mapping[str, Iterator[Piece]], *, purpose: str) -> None:
    """Write this rank's classes, in order, to the head; called by all ranks together.

    Args:
        centres: the head.
        tensors: pieces by name: number of the first class among those of all ranks, and rows as
            the head stores them.
        purpose: begins the message of the error.

    Raises:
        UserError: a rank could not read its own.

    """

    def steps() -> Iterator[None]:
        for name, pieces in tensors.items():
            end = centres.shard.start
            for first, rows in _whole_zones(centres, pieces) if _in_zones(centres) else pieces:
                centres.write(name, rows, first - centres.shard.start)
                end = first + len(rows)
                yield
            assert end == centres.shard.stop, name

    together = Together(purpose)
    together.in_step(steps())
    together.meet()
