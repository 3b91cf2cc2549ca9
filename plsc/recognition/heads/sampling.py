"""Choose the class centres that take part in a step."""

import math
from collections.abc import Sequence

import numpy as np

Integers = np.ndarray
RatioSchedule = Sequence[tuple[float, float]]


def ratio_at(sample_ratio: float | RatioSchedule, fraction: float) -> float:
    """Return the sample ratio when `fraction` of training is done.

    Args:
        sample_ratio: one for all of training, or (fraction, ratio from there on) pairs whose
            fractions ascend from 0.
        fraction: in [0, 1].

    """
    if isinstance(sample_ratio, int | float):
        return sample_ratio
    return [ratio for start, ratio in sample_ratio if start <= fraction][-1]


def draw_distinct(generator: np.random.Generator, population: int, count: int) -> Integers:
    """Return a uniformly random `count`-subset of range(population): [count] int64, ascending.

    The cost follows `count`, never the population: numbers are drawn with repetition and the
    repeated dropped, or, for more than half of the population, the rest is drawn and left out.
    (`Generator.choice` without replacement walks the whole population once count is above 2 %.)
    """
    if 2 * count > population:
        chosen = np.ones(population, bool)
        chosen[draw_distinct(generator, population, population - count)] = False
        return np.flatnonzero(chosen)
    drawn = np.empty(0, np.int64)
    # So many draws have `count` different ones on average: nearly always one round is enough.
    draws = int(-population * math.log1p(-count / population) + 4 * math.sqrt(count)) + 1
    while len(drawn) < count:
        more = generator.integers(population, size=draws if not len(drawn) else count)
        drawn = np.unique(np.concatenate([drawn, more]))
    # All numbers were equally likely to be among the drawn, so dropping at random keeps it uniform.
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
    """Return all `positives` and other rows drawn uniformly, about `num_sample` rows in all.

    No row is visited that is not drawn: negatives are drawn as numbers below (rows - positives)
    and shifted past the positives. Every row that is not positive is equally likely in every step,
    and draws are independent from step to step, so over time all are used equally often.

    Args:
        positives: [p] rows that must take part, ascending and distinct.
        num_rows: how many rows there are.
        num_sample: how many to use; exceeded where there are more positives than that.
        generator: the source of randomness.
        block: draw runs of this many neighbours (row b·block and those after it), for storage that
            is slow at single rows; then the number of rows is within a block of `num_sample`, less
            what the blocks share with the positives.

    Returns:
        [k] int64 row numbers, ascending and distinct.

    """
    num_negatives = min(num_sample, num_rows) - len(positives)
    if num_negatives <= 0:
        return positives.astype(np.int64)
    if block > 1:
        num_blocks = -(-num_rows // block)
        wanted = min(num_blocks, -(-num_negatives // block))
        starts = draw_distinct(generator, num_blocks, wanted) * block
        rows = (starts[:, None] + np.arange(block)).ravel()
        return np.union1d(rows[rows < num_rows], positives).astype(np.int64)
    drawn = draw_distinct(generator, num_rows - len(positives), num_negatives)
    # The i-th row that is not positive is i + (positives not above it).
    gaps = positives - np.arange(len(positives))
    negatives = drawn + np.searchsorted(gaps, drawn, side="right")
    return np.sort(np.concatenate([positives, negatives])).astype(np.int64)


def columns_of(numbers: Integers, rows: Integers | None) -> Integers:
    """Return where each row number [n] is among the sampled `rows` (None: all); -1 stays -1."""
    if rows is None:
        return numbers
    column = np.searchsorted(rows, numbers).clip(max=len(rows) - 1)
    owned = numbers >= 0
    assert (rows[column] == numbers)[owned].all(), "a class of the batch is not among the rows"
    return np.where(owned, column, -1)
