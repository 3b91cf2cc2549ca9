"""How classes are split over ranks: contiguous, and even to within one class."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassShard:
    """The classes `start <= class < stop` that rank `rank` of `size` owns, of `num_classes`.

    The first `num_classes % size` ranks own one class more (PLSC's split).
    """

    num_classes: int
    rank: int = 0
    size: int = 1

    @property
    def start(self) -> int:
        """First class owned."""
        each, left = divmod(self.num_classes, self.size)
        return each * self.rank + min(self.rank, left)

    @property
    def stop(self) -> int:
        """One past the last class owned."""
        return ClassShard(self.num_classes, self.rank + 1, self.size).start

    @property
    def num_local(self) -> int:
        """How many classes this rank owns."""
        return self.stop - self.start

    def owns(self, labels: np.ndarray) -> np.ndarray:
        """Which of `labels` (integers of any shape) belong to this rank; boolean, same shape."""
        return (labels >= self.start) & (labels < self.stop)
