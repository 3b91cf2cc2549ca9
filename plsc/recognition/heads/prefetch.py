"""Reading the rows of the next step while this one computes."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from plsc.files.rounding import Stored
from plsc.recognition.heads.stores import ArrayRows


@dataclass
class _Ahead:
    numbers: np.ndarray
    rows: "Future[dict[str, Stored]]"
    changed: list[np.ndarray] = field(default_factory=list)  # rows that may be read too early


class Prefetcher:
    """Rows read ahead by a thread, as good as read when they are taken."""

    def __init__(self, stores: Mapping[str, ArrayRows]):
        self._stores = stores
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._ahead: _Ahead | None = None

    def start(self, numbers: np.ndarray) -> None:
        """Begin to read the rows `numbers` (ascending, distinct) of all tensors."""
        self._ahead = _Ahead(numbers, self._thread.submit(self._read, numbers))

    def note(self, numbers: np.ndarray) -> None:
        """Note that these rows (ascending, distinct) have been or are about to be changed."""
        if self._ahead is not None:
            self._ahead.changed.append(numbers)

    def discard(self) -> None:
        """Forget what was read ahead."""
        self._ahead = None

    def take(self, numbers: np.ndarray | None) -> dict[str, Stored] | None:
        """Return the rows as they are now, by tensor; None if others or none were read ahead.

        Raises:
            UserError: they could not be read.

        """
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return None
        rows = ahead.rows.result()
        if numbers is None or not np.array_equal(numbers, ahead.numbers):
            return None
        for changed in ahead.changed:
            again, where, _ = np.intersect1d(
                numbers, changed, assume_unique=True, return_indices=True
            )
            for name, store in self._stores.items():
                rows[name][where] = store.read(again)
        return rows

    def _read(self, numbers: np.ndarray) -> dict[str, Stored]:
        for store in self._stores.values():
            store.expect(numbers)
        return {name: store.read(numbers) for name, store in self._stores.items()}
