"""Order the rows of the classes in a file."""

import numpy as np
from numpy.typing import NDArray

ZONE = 65_536  # classes whose rows lie together; a checkpoint reads one zone at once


class RowOrder:
    """Map classes to rows, in a random order within each zone of neighbouring classes.

    A disk is fast at runs of rows, so classes whose rows are neighbours are sampled together. The
    neighbours must be random, because class numbers often follow the way in which a data set was
    collected. As the order is random only within a zone, a checkpoint, which goes by class, still
    reads and writes the file zone after zone.

    Args:
        num_classes: number of classes of this rank.
        seed: seed and rank, which give the order; a resumed run must pass the same.
        zone: number of classes in a zone; the last zone may be smaller.

    """

    def __init__(self, num_classes: int, *, seed: tuple[int, ...], zone: int = ZONE):
        self.zone = zone
        self._row = np.empty(num_classes, np.int32)
        for number, start in enumerate(range(0, num_classes, zone)):
            part = self._row[start : start + zone]
            part[:] = np.random.default_rng([*seed, number]).permutation(len(part))
            part += start

    def rows(self, classes: NDArray[np.int64] | slice) -> NDArray[np.int64]:
        """Return the row number of each class."""
        return self._row[classes].astype(np.int64)
