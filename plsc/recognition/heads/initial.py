"""The values that class centres begin with."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from plsc.distributed.sharding import RowShard

STD = 0.01
BLOCK = 4096  # classes whose values come from one generator
THREADS = 2


def initial_centres(shard: RowShard, dim: int, *, seed: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield N(0, 0.01) rows as (first local class, [n, dim] float32) pieces.

    A class's row does not depend on the split over ranks. A piece is valid until the next is asked
    for.
    """
    first, last = shard.start // BLOCK, max(shard.stop - 1, 0) // BLOCK
    begun: deque[Future[np.ndarray]] = deque()
    # One array for all: the blocks' memory would stay with the process (`plsc.nn.environment`).
    room = np.empty((2 * THREADS + 1, BLOCK, dim), np.float32)
    with ThreadPoolExecutor(THREADS) as threads:
        for block in range(first, last + 1):
            # A few ahead of the one that is asked for, not all.
            for ahead in range(block + len(begun), min(block + 2 * THREADS, last + 1)):
                place = room[ahead % len(room)]
                begun.append(threads.submit(_initial_block, place, (seed, ahead)))
            start, stop = block * BLOCK, (block + 1) * BLOCK
            low, high = max(start, shard.start), min(stop, shard.stop)
            yield low - shard.start, begun.popleft().result()[low - start : high - start]


def _initial_block(out: np.ndarray, seed: tuple[int, int]) -> np.ndarray:
    np.random.default_rng(seed).standard_normal(dtype=np.float32, out=out)
    out *= STD
    return out
