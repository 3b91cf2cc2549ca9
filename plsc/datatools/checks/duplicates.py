"""Equal images among millions, by a digest of 16 bytes each."""

import hashlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

DIGEST_BYTES = 16
PARTS = 16  # sorted one after the other: a sort needs twice the memory of what it sorts


def digest(pixels: np.ndarray) -> np.ndarray:
    """Return uint8 [16] that only equal images share.

    Of the pixels, not of the file: one picture stored in two ways is still one picture.
    """
    state = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=DIGEST_BYTES)
    state.update(np.ascontiguousarray(pixels).data)
    return np.frombuffer(state.digest(), np.uint8)


def equal_rows(digests: np.ndarray, looked_at: np.ndarray) -> Iterator[np.ndarray]:
    """Yield groups of two and more rows that are equal, each int64 in ascending order.

    The groups come in the order of their digests. Beside `digests` this takes about a quarter of
    their memory.

    Args:
        digests: uint8 [n, 16].
        looked_at: bool [n]; other rows are in no group.

    """
    halves = np.ascontiguousarray(digests).view(np.uint64)  # [n, 2]
    part_of = digests[:, 0] % PARTS
    for part in range(PARTS):
        yield from _equal_among(halves, np.flatnonzero((part_of == part) & looked_at))


def _equal_among(halves: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    first = halves[rows, 0]
    order = np.argsort(first)
    ranked = first[order]
    same = ranked[1:] == ranked[:-1]
    doubtful = np.zeros(len(rows), bool)  # has a neighbour that is equal in the first half
    doubtful[1:] |= same
    doubtful[:-1] |= same
    rows = rows[order[doubtful]]
    rows = rows[np.lexsort((rows, halves[rows, 1], halves[rows, 0]))]
    ends = np.flatnonzero((halves[rows[1:]] != halves[rows[:-1]]).any(axis=1)) + 1
    for begin, end in pairwise([0, *ends.tolist(), len(rows)]):
        if end - begin > 1:
            yield rows[begin:end]
