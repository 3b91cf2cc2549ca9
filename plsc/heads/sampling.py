"""Which class centres take part in a step."""

import numpy as np

from plsc.distributed.sharding import ClassShard


def sample_classes(
    labels: np.ndarray, shard: ClassShard, num_sample: int, generator: np.random.Generator
) -> np.ndarray:
    """All classes of the batch and, up to `num_sample`, others drawn uniformly without replacement.

    The cost follows `num_sample`, not the number of classes: negatives are drawn as numbers below
    (classes − positives) and shifted past the positives, so no class is visited that is not drawn.
    (numpy draws k of N by Floyd's method, or by shuffling a tail where N is below 20 k: O(k).)

    Args:
        labels: [n] global class of each sample of the global batch.
        shard: the classes this rank owns.
        num_sample: how many centres to use; exceeded where the batch holds more classes than that.
        generator: the source of randomness.

    Returns:
        [k] int64, local class numbers, ascending and distinct, all positives among them.

    """
    positives = np.unique(labels[shard.owns(labels)] - shard.start)
    num_negatives = min(num_sample, shard.num_local) - len(positives)
    if num_negatives <= 0:
        return positives.astype(np.int64)
    drawn = generator.choice(
        shard.num_local - len(positives), num_negatives, replace=False, shuffle=False
    )
    # The i-th class that is not positive is i + (positives not above it).
    gaps = positives - np.arange(len(positives))
    negatives = drawn + np.searchsorted(gaps, drawn, side="right")
    return np.sort(np.concatenate([positives, negatives])).astype(np.int64)


def columns_of(labels: np.ndarray, shard: ClassShard, rows: np.ndarray | None) -> np.ndarray:
    """Position of each label [n] among the sampled `rows` (None: all); −1 where not owned here."""
    local, owned = labels - shard.start, shard.owns(labels)
    if rows is None:
        return np.where(owned, local, -1)
    column = np.searchsorted(rows, local).clip(max=len(rows) - 1)
    assert (rows[column] == local)[owned].all(), "a class of the batch is not among the rows"
    return np.where(owned, column, -1)
