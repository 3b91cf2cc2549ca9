"""The order in which a file keeps the rows of the classes."""

import numpy as np
from numpy.typing import NDArray

ZONE = 65_536  # classes whose rows lie together; what a checkpoint reads at once


class RowOrder:
    """Class <-> row number: a random order within each zone of neighbouring classes.

    A disk is fast at runs of rows, so classes that lie together are sampled together; which they
    are must be random, because class numbers often follow how a data set was collected. Order
    within zones keeps a checkpoint, which goes by class, sequential: zone after zone.

    Args:
        num_classes: of this rank.
        seed: together with the rank makes the order; the same at resume.
        zone: classes of a zone; the last may be smaller.

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
