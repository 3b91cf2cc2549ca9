"""Choose the class centres that take part in a step."""

import math
from collections.abc import Sequence

import numpy as np

Integers = np.ndarray
RatioSchedule = Sequence[tuple[float, float]]


def ratio_at(sample_ratio: float | RatioSchedule, fraction: float) -> float:
    """Return the sample ratio at `fraction` of training.

    Args:
        sample_ratio: one ratio for the whole training, or pairs (fraction, ratio from there on)
            whose fractions ascend from 0.
        fraction: completed fraction of training, in [0, 1].

    """
    if isinstance(sample_ratio, int | float):
        return sample_ratio
    return [ratio for start, ratio in sample_ratio if start <= fraction][-1]


def draw_distinct(generator: np.random.Generator, population: int, count: int) -> Integers:
    """Return a uniformly random `count`-subset of range(population): [count] int64, ascending.

    The cost grows with `count`, not with the population. The function draws numbers with
    repetition and drops repeated ones; for more than half of the population it draws the
    complement. (`Generator.choice` without replacement visits the whole population as soon as
    `count` exceeds 2 % of it.)
    """
    if 2 * count > population:
        chosen = np.ones(population, bool)
        chosen[draw_distinct(generator, population, population - count)] = False
        return np.flatnonzero(chosen)
    drawn = np.empty(0, np.int64)
    # This many draws give `count` distinct numbers on average, plus a margin: one round nearly
    # always suffices.
    draws = int(-population * math.log1p(-count / population) + 4 * math.sqrt(count)) + 1
    while len(drawn) < count:
        more = generator.integers(population, size=draws if not len(drawn) else count)
        drawn = np.unique(np.concatenate([drawn, more]))
    # Each number was equally likely to be drawn, so dropping at random keeps the subset uniform.
    surplus = len(drawn) - count
    return np.delete(drawn, draw_distinct(generator, len(drawn), surplus)) if surplus else drawn


def sample_rows(
    positives: Integers,
    *,
    num_rows: int,
    num_sample: int,
    generator: np.random.Generator,
    block: int = 1,
) -> Integers:
    """Return all `positives` and uniformly drawn negatives, about `num_sample` rows in total.

    The function visits drawn rows only: it draws negatives as numbers below (rows - positives) and
    shifts them past the positives. In every step each row that is not positive is equally likely,
    and steps are independent, so in the long run all rows are used equally often.

    Args:
        positives: [p] rows that must take part, ascending and distinct.
        num_rows: number of rows.
        num_sample: number of rows to return; more are returned if there are more positives.
        generator: source of randomness.
        block: draw runs of this many neighbours, from row b·block on, for storage that is slow at
            single rows. The number of rows then differs from `num_sample` by less than a block,
            minus the rows that the runs share with the positives.

    Returns:
        [k] int64 row numbers, ascending and distinct.

    """
    num_negatives = min(num_sample, num_rows) - len(positives)
    if num_negatives <= 0:
        return positives.astype(np.int64)
    if block > 1:
        num_blocks = -(-num_rows // block)
        count = min(num_blocks, -(-num_negatives // block))
        starts = draw_distinct(generator, num_blocks, count) * block
        rows = (starts[:, None] + np.arange(block)).ravel()
        return np.union1d(rows[rows < num_rows], positives).astype(np.int64)
    drawn = draw_distinct(generator, num_rows - len(positives), num_negatives)
    # The i-th negative is row i plus the number of positives below it.
    gaps = positives - np.arange(len(positives))
    negatives = drawn + np.searchsorted(gaps, drawn, side="right")
    return np.sort(np.concatenate([positives, negatives])).astype(np.int64)


def columns_of(numbers: Integers, rows: Integers | None) -> Integers:
    """Return the position of each row number [n] in `rows` (None: all rows); -1 stays -1."""
    if rows is None:
        return numbers
    column = np.searchsorted(rows, numbers).clip(max=len(rows) - 1)
    owned = numbers >= 0
    assert (rows[column] == numbers)[owned].all(), "a class of the batch is not among the rows"
    return np.where(owned, column, -1)
