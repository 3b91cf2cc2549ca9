"""Read the rows of the next step while this step computes."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from plsc.files.rounding import Stored
from plsc.recognition.heads.stores import ArrayRows


@dataclass
class _Request:
    numbers: np.ndarray
    rows: "Future[dict[str, Stored]]"
    changed: list[np.ndarray] = field(default_factory=list)  # rows that may be stale


class Prefetcher:
    """Read rows ahead in a thread; `take` returns them as if they were read at that moment."""

    def __init__(self, stores: Mapping[str, ArrayRows]):
        self._stores = stores
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._request: _Request | None = None

    def start(self, numbers: np.ndarray) -> None:
        """Start reading the rows `numbers` (ascending, distinct) of all tensors."""
        self._request = _Request(numbers, self._thread.submit(self._read, numbers))

    def note(self, numbers: np.ndarray) -> None:
        """Note that these rows (ascending, distinct) have changed or are about to change."""
        if self._request is not None:
            self._request.changed.append(numbers)

    def discard(self) -> None:
        """Drop what was read ahead."""
        self._request = None

    def take(self, numbers: np.ndarray | None) -> dict[str, Stored] | None:
        """Return the current rows by tensor; None unless exactly these rows were read ahead.

        Raises:
            UserError: the rows cannot be read.

        """
        request, self._request = self._request, None
        if request is None:
            return None
        rows = request.rows.result()
        if numbers is None or not np.array_equal(numbers, request.numbers):
            return None
        for changed in request.changed:
            stale, places, _ = np.intersect1d(
                numbers, changed, assume_unique=True, return_indices=True
            )
            for name, store in self._stores.items():
                rows[name][places] = store.read(stale)
        return rows

    def _read(self, numbers: np.ndarray) -> dict[str, Stored]:
        for store in self._stores.values():
            store.expect(numbers)
        return {name: store.read(numbers) for name, store in self._stores.items()}
