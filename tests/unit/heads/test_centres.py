"""Initial class centres, and rows that go out for a step and come back."""

import numpy as np
import paddle
import pytest

from plsc.distributed.sharding import ClassShard
from plsc.heads.centres import INIT_BLOCK, ClassCentres, initial_centres

NUM_CLASSES = 2 * INIT_BLOCK + 1000


@pytest.fixture(scope="module")
def whole():
    return initial_centres(ClassShard(NUM_CLASSES), 8, seed=3)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_a_class_starts_alike_under_any_split(whole, size):
    shards = [ClassShard(NUM_CLASSES, rank, size) for rank in range(size)]
    parts = [initial_centres(shard, 8, seed=3) for shard in shards]
    assert [len(part) for part in parts] == [shard.num_local for shard in shards]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_shards_may_end_where_a_block_ends(whole):
    shards = [ClassShard(2 * INIT_BLOCK, rank, 2) for rank in range(2)]
    parts = [initial_centres(shard, 8, seed=3) for shard in shards]
    np.testing.assert_array_equal(np.concatenate(parts), whole[: 2 * INIT_BLOCK])


def test_initial_values_are_normal(whole):
    assert whole.dtype == np.float32
    scaled = whole.astype("float64") / 0.01
    assert abs(scaled.mean()) < 4 / scaled.size**0.5
    assert scaled.std() == pytest.approx(1, abs=4 / (2 * scaled.size) ** 0.5)
    assert (scaled**4).mean() == pytest.approx(3, abs=0.1)


def test_blocks_and_seeds_differ(whole):
    assert len(np.unique(whole[:, 0])) > 0.99 * NUM_CLASSES
    other = initial_centres(ClassShard(NUM_CLASSES), 8, seed=4)
    assert abs(np.corrcoef(whole.ravel(), other.ravel())[0, 1]) < 0.02


def centres(dtype="float32"):
    """9 classes of which rank 1 of 2 owns 4; the velocity tells the rows apart too."""
    made = ClassCentres(
        ClassShard(9, 1, 2), np.arange(12, dtype=dtype).reshape(4, 3), state_names=("velocity",)
    )
    assert not made.read("velocity").any()
    made.write("velocity", 100 + np.arange(12, dtype=dtype).reshape(4, 3))
    return made


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_take_and_put(dtype):
    kept = centres(dtype)
    before = {name: kept.read(name).copy() for name in kept.names}
    rows = kept.take(np.array([1, 3]))
    assert rows.index.numpy().tolist() == [1, 3]
    np.testing.assert_array_equal(rows.weight.numpy(), before["weight"][[1, 3]])
    np.testing.assert_array_equal(rows.state["velocity"].numpy(), before["velocity"][[1, 3]])
    assert rows.weight.numpy().dtype == dtype
    assert rows.weight.is_leaf
    assert not rows.weight.stop_gradient

    with paddle.no_grad():
        rows.weight.scale_(2.0)
        rows.state["velocity"].subtract_(paddle.ones_like(rows.weight))
    for name in kept.names:  # copies: nothing has changed yet
        np.testing.assert_array_equal(kept.read(name), before[name])
    kept.put(rows)
    np.testing.assert_array_equal(kept.read("weight")[[1, 3]], 2 * before["weight"][[1, 3]])
    np.testing.assert_array_equal(kept.read("velocity")[[1, 3]], before["velocity"][[1, 3]] - 1)
    for name in kept.names:
        np.testing.assert_array_equal(kept.read(name)[[0, 2]], before[name][[0, 2]])


def test_all_rows_share_the_memory():
    kept = centres()
    rows = kept.take(None)
    assert rows.index is None
    assert rows.weight.is_leaf
    with paddle.no_grad():
        rows.weight.scale_(2.0)
    kept.put(rows)
    np.testing.assert_array_equal(kept.read("weight"), 2 * np.arange(12).reshape(4, 3))


def test_gradients_reach_the_rows_only():
    kept = centres()
    rows = kept.take(np.array([0]))
    (rows.weight * 3).sum().backward()
    assert rows.weight.grad.numpy().tolist() == [[3, 3, 3]]
    assert kept.take(None).weight.grad is None
