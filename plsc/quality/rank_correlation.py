"""Spearman's rank correlation and its confidence interval. numpy only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def ranks(values: ArrayLike) -> Floats:
    """Return the ranks [n] of `values` [n], from 1; equal values share the mean of their ranks.

    No value may be NaN, which has no rank.
    """
    series = np.asarray(values)
    assert not np.isnan(series).any(), "NaN among the values"
    _, group, count = np.unique(series, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    shared: Floats = (last - (count - 1) / 2)[group]
    return shared


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Return Pearson's correlation of the ranks of two series [n], from -1 to 1.

    Return NaN if the correlation is not defined: for fewer than two values, or a constant series.
    No value may be NaN.
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
    """Bound `spearman` by a percentile bootstrap that draws whole groups with replacement.

    Images of one person resemble each other in more than the measured quality. Drawing single
    images would therefore make the interval too narrow, so people are drawn.

    Args:
        first: [n], without NaN.
        second: [n], without NaN.
        groups: [n], equal for members of one group.
        level: share of the resamples within the interval.
        resamples: number of resamples; those without a defined correlation are ignored.
        seed: seed of the random draws.

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
