"""Class centres to files and back piece by piece, so that they are in memory once only."""

from collections.abc import Iterator, Mapping

import numpy as np
import paddle

from plsc.engine.head_files import Piece
from plsc.engine.tensor_file import Rows
from plsc.engine.together import Together
from plsc.heads.centres import ClassCentres


class _StoredRows:
    """A tensor of the head as Rows; may be read in any thread."""

    def __init__(self, centres: ClassCentres, name: str):
        self._centres, self._name = centres, name
        self.shape, self.dtype = (centres.shard.num_local, centres.dim), centres.dtype
        self._device = paddle.get_device()

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        paddle.set_device(self._device)  # a new thread would begin on the first device
        start, stop, _ = rows.indices(self.shape[0])
        return self._centres.read(self._name, start, stop)


def rows_of(centres: ClassCentres) -> dict[str, Rows]:
    """`weight` and the optimizer state, to be read piece by piece."""
    return {name: _StoredRows(centres, name) for name in centres.names}


def fill(centres: ClassCentres, tensors: Mapping[str, Iterator[Piece]], *, purpose: str) -> None:
    """Write pieces (first class of all, rows as they are stored) to the head; on all ranks.

    Raises:
        UserError: a rank could not read its own; the message begins with `purpose`.

    """

    def steps() -> Iterator[None]:
        for name, pieces in tensors.items():
            for first, rows in pieces:
                centres.write(name, rows, first - centres.shard.start)
                yield

    together = Together(purpose)
    together.in_step(steps())
    together.meet()
