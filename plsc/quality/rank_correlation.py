"""Spearman's rank correlation, and how sure it is. numpy only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def ranks(values: ArrayLike) -> Floats:
    """Return ranks [n] of `values` [n] from 1 on; equal values share the mean of their places.

    NaN has no place in an order: whoever calls leaves such images out.
    """
    series = np.asarray(values)
    assert not np.isnan(series).any(), "NaN among the values"
    _, place, count = np.unique(series, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    shared: Floats = (last - (count - 1) / 2)[place]
    return shared


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Return Pearson's correlation of the ranks of two series [n], from -1 to 1.

    NaN where it is not defined: fewer than two values, or a series that is all the same. No value
    may be NaN.
    """
    x, y = (ranks(values) - (np.size(values) + 1) / 2 for values in (first, second))
    assert x.shape == y.shape, (x.shape, y.shape)
    length = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / length if length else float("nan")


def spearman_interval(
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
) -> tuple[float, float]:
    """Bound `spearman` by a percentile bootstrap, drawing whole groups with replacement.

    Images of one person are alike in much besides what is measured, so people are drawn, not
    images: drawn one by one, these would make the interval too narrow.

    Args:
        first: [n], without NaN.
        second: [n], likewise.
        groups: [n], equal where two belong together.
        level: share of the resamples that lie within.
        resamples: how many; those for which the correlation is not defined are left out.
        seed: of the drawing.

    Returns:
        Lower and upper bound.

    """
    x, y = np.asarray(first), np.asarray(second)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    members: Sequence[NDArray[np.intp]] = np.split(
        np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1]
    )
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        rows = np.concatenate([members[g] for g in rng.integers(len(members), size=len(members))])
        drawn.append(spearman(x[rows], y[rows]))
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
