"""Draw the initial values of class centres."""

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

    The row of a class does not depend on the split over ranks. A piece is valid until the next
    one is requested.
    """
    first, last = shard.start // BLOCK, max(shard.stop - 1, 0) // BLOCK
    pending: deque[Future[np.ndarray]] = deque()
    # All blocks share one array, because the process would keep the memory of separate ones
    # (`plsc.nn.environment`).
    room = np.empty((2 * THREADS + 1, BLOCK, dim), np.float32)
    with ThreadPoolExecutor(THREADS) as threads:
        for block in range(first, last + 1):
            for ahead in range(block + len(pending), min(block + 2 * THREADS, last + 1)):
                out = room[ahead % len(room)]
                pending.append(threads.submit(_initial_block, out, (seed, ahead)))
            start, stop = block * BLOCK, (block + 1) * BLOCK
            low, high = max(start, shard.start), min(stop, shard.stop)
            yield low - shard.start, pending.popleft().result()[low - start : high - start]


def _initial_block(out: np.ndarray, seed: tuple[int, int]) -> np.ndarray:
    np.random.default_rng(seed).standard_normal(dtype=np.float32, out=out)
    out *= STD
    return out
