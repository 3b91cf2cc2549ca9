"""A function over all images of a set, some at a time, in processes and with a progress bar."""

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

import numpy as np

from plsc.data.loader.worker_pool import WorkerPool
from plsc.files.progress import progress_bar

Note = TypeVar("Note")


def over_ranges(
    function: Callable[[range], tuple[Sequence[np.ndarray], Note]],
    total: int,
    *,
    at_once: int,
    num_workers: int,
    unit: str,
    slot_bytes: int = 0,
) -> Generator[tuple[list[np.ndarray], Note], None, None]:
    """What `function` gives for `range(0, total)` in pieces of `at_once`, in their order.

    Close it (`contextlib.closing`) where its processes must have ended whatever happens.

    Args:
        function: takes the numbers of some images; depends on nothing else. An error of it is
            raised here in its turn.
        total: how many images there are.
        at_once: images per call.
        num_workers: processes; one process is this one.
        unit: what the bar counts.
        slot_bytes: the most bytes that the arrays of one call have together.

    """
    starts = range(0, total, at_once)

    def answer(start: int) -> tuple[Sequence[np.ndarray], Any]:
        return function(range(start, min(start + at_once, total)))

    pool = WorkerPool(
        answer, num_workers=num_workers if num_workers > 1 else 0, slot_bytes=slot_bytes
    )
    try:
        with progress_bar(total, unit) as bar:
            for start, result in zip(starts, pool.map(starts), strict=True):
                yield result
                bar.update(min(at_once, total - start))
    finally:
        pool.close()
