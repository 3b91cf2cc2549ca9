"""The split of the classes over ranks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plsc.distributed.sharding import RowShard


def starts_and_sizes(num_classes, size):
    shards = [RowShard(num_classes, rank, size) for rank in range(size)]
    return [shard.start for shard in shards], [shard.num_local for shard in shards]


@pytest.mark.parametrize(
    ("num_classes", "size", "starts", "sizes"),
    [
        (93431, 8, [11679 * rank for rank in range(8)], [11679] * 7 + [11678]),
        (
            2059906,
            8,
            [0, 257489] + [2 * 257489 + 257488 * rank for rank in range(6)],
            [257489] * 2 + [257488] * 6,
        ),
        (10, 4, [0, 3, 6, 8], [3, 3, 2, 2]),
        (10, 3, [0, 4, 7], [4, 3, 3]),
        (7, 2, [0, 4], [4, 3]),
        (5, 1, [0], [5]),
    ],
)
def test_worked_numbers(num_classes, size, starts, sizes):
    assert starts_and_sizes(num_classes, size) == (starts, sizes)


@given(st.integers(1, 10**8), st.integers(1, 64))
def test_contiguous_and_even_to_within_one(num_classes, size):
    starts, sizes = starts_and_sizes(num_classes, size)
    assert starts == [sum(sizes[:rank]) for rank in range(size)]
    assert sum(sizes) == num_classes
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)
    assert RowShard(num_classes, size - 1, size).stop == num_classes


@given(st.integers(1, 60), st.integers(1, 9))
def test_each_class_has_one_owner(num_classes, size):
    labels = np.arange(num_classes)
    owned = np.stack([RowShard(num_classes, rank, size).owns(labels) for rank in range(size)])
    assert owned.sum(axis=0).tolist() == [1] * num_classes
    for rank in range(size):
        shard = RowShard(num_classes, rank, size)
        assert labels[owned[rank]].tolist() == list(range(shard.start, shard.stop))


def test_owns_keeps_the_shape():
    labels = np.array([[3, 4], [6, 7]])
    assert RowShard(10, 1, 3).owns(labels).tolist() == [[False, True], [True, False]]
