"""Split rows over ranks: contiguous, and even to within one row."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RowShard:
    """The rows `start <= row < stop` that rank `rank` of `size` owns, of `num_rows`.

    The first `num_rows % size` ranks own one row more (PLSC's split of its classes).
    """

    num_rows: int
    rank: int = 0
    size: int = 1

    @property
    def start(self) -> int:
        """First row owned."""
        each, left = divmod(self.num_rows, self.size)
        return each * self.rank + min(self.rank, left)

    @property
    def stop(self) -> int:
        """One past the last row owned."""
        return RowShard(self.num_rows, self.rank + 1, self.size).start

    @property
    def num_local(self) -> int:
        """Number of rows that this rank owns."""
        return self.stop - self.start

    def owns(self, rows: np.ndarray) -> np.ndarray:
        """Tell which of `rows` (integers of any shape) this rank owns; boolean, same shape."""
        return (rows >= self.start) & (rows < self.stop)
