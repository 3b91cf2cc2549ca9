"""A function over all images of a set, some at a time, in processes and with a progress bar."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from plsc.data.loader.worker_pool import WorkerPool
from plsc.files.progress import progress_bar

AT_ONCE = 64  # images

Note = TypeVar("Note")


@contextmanager
def map_images(
    function: Callable[[range], tuple[Sequence[np.ndarray], Note]],
    total: int,
    *,
    num_workers: int,
    at_once: int = AT_ONCE,
    unit: str = "images",
    slot_bytes: int = 0,
) -> Iterator[Iterator[tuple[list[np.ndarray], Note]]]:
    """Give what `function` returns for `range(0, total)` in pieces of `at_once`, in their order.

    The processes and the bar's line have ended when the `with` block does, however that ends.

    Args:
        function: takes the numbers of some images; depends on nothing else. An error of it is
            raised in the block in its turn.
        total: how many images there are.
        num_workers: processes; one process is this one.
        at_once: images per call.
        unit: what the bar counts.
        slot_bytes: the most bytes that the arrays of one call have together.

    """
    starts = range(0, total, at_once)

    def answer(start: int) -> tuple[Sequence[np.ndarray], Any]:
        return function(range(start, min(start + at_once, total)))

    def results() -> Generator[tuple[list[np.ndarray], Note], None, None]:
        with progress_bar(total, unit) as bar:
            for start, result in zip(starts, pool.map(starts), strict=True):
                yield result
                bar.update(min(at_once, total - start))

    pool = WorkerPool(
        answer, num_workers=num_workers if num_workers > 1 else 0, slot_bytes=slot_bytes
    )
    running = results()
    try:
        yield running
    finally:
        running.close()
        pool.close()


def fill_rows(
    arrays: Sequence[np.ndarray],
    function: Callable[[range], tuple[Sequence[np.ndarray], Note]],
    *,
    num_workers: int,
    at_once: int = AT_ONCE,
    unit: str = "images",
) -> list[Note]:
    """Fill `arrays`, each with a row per image, with those that `function` returns for some rows.

    Arguments as for `map_images`. Returns what else the function returned, in the images' order.
    """
    row_bytes = sum(array[:1].nbytes for array in arrays)
    notes, start = [], 0
    with map_images(
        function,
        len(arrays[0]),
        num_workers=num_workers,
        at_once=at_once,
        unit=unit,
        slot_bytes=at_once * row_bytes,
    ) as results:
        for parts, note in results:
            stop = start + len(parts[0])
            for array, part in zip(arrays, parts, strict=True):
                array[start:stop] = part
            notes.append(note)
            start = stop
    return notes
