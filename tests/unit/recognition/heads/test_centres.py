"""Initial class centres, and rows that go out for a step and come back."""

import os
import sys

import numpy as np
import paddle
import pytest
from commands import python

from plsc.distributed.sharding import RowShard
from plsc.recognition.heads.centres import ClassCentres
from plsc.recognition.heads.initial import BLOCK
from plsc.recognition.heads.initial import initial_centres as initial_pieces

NUM_CLASSES = 2 * BLOCK + 1000


def initial_centres(shard, dim, *, seed):
    """The pieces in one array; each must follow the one before it."""
    parts, stop = [], 0
    for start, values in initial_pieces(shard, dim, seed=seed):
        assert start == stop
        stop = start + len(values)
        parts.append(values.copy())
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def whole():
    return initial_centres(RowShard(NUM_CLASSES), 8, seed=3)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_a_class_starts_alike_under_any_split(whole, size):
    shards = [RowShard(NUM_CLASSES, rank, size) for rank in range(size)]
    parts = [initial_centres(shard, 8, seed=3) for shard in shards]
    assert [len(part) for part in parts] == [shard.num_local for shard in shards]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_shards_may_end_where_a_block_ends(whole):
    shards = [RowShard(2 * BLOCK, rank, 2) for rank in range(2)]
    parts = [initial_centres(shard, 8, seed=3) for shard in shards]
    np.testing.assert_array_equal(np.concatenate(parts), whole[: 2 * BLOCK])


def test_initial_values_are_normal(whole):
    assert whole.dtype == np.float32
    scaled = whole.astype("float64") / 0.01
    assert abs(scaled.mean()) < 4 / scaled.size**0.5
    assert scaled.std() == pytest.approx(1, abs=4 / (2 * scaled.size) ** 0.5)
    assert (scaled**4).mean() == pytest.approx(3, abs=0.1)


def test_blocks_and_seeds_differ(whole):
    assert len(np.unique(whole[:, 0])) > 0.99 * NUM_CLASSES
    other = initial_centres(RowShard(NUM_CLASSES), 8, seed=4)
    assert abs(np.corrcoef(whole.ravel(), other.ravel())[0, 1]) < 0.02


def centres(dtype="float32"):
    """9 classes of which rank 1 of 2 owns 4; the velocity tells the rows apart too."""
    made = ClassCentres.of(
        RowShard(9, 1, 2), np.arange(12, dtype=dtype).reshape(4, 3), state_names=("velocity",)
    )
    assert not made.read("velocity").any()
    made.write("velocity", 100 + np.arange(12, dtype=dtype).reshape(4, 3))
    return made


def double_weight_and_lower_velocity(weight, gradient, state):
    weight.scale_(2.0)
    state["velocity"].subtract_(paddle.ones_like(weight))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("numbers", [[1, 3], None])
def test_take_and_update(dtype, numbers):
    kept = centres(dtype)
    before = {name: kept.read(name) for name in kept.names}
    rows = kept.take(None if numbers is None else np.array(numbers))
    assert rows.numbers is None if numbers is None else rows.numbers.tolist() == numbers
    taken, others = ([1, 3], [0, 2]) if numbers else ([0, 1, 2, 3], [])
    np.testing.assert_array_equal(rows.weight.numpy(), before["weight"][taken])
    assert rows.weight.numpy().dtype == dtype
    norms = np.linalg.norm(before["weight"][taken], axis=1)
    np.testing.assert_allclose(rows.norms.numpy(), norms, rtol=1e-6)
    for name in kept.names:  # nothing has changed yet
        np.testing.assert_array_equal(kept.read(name), before[name])
    kept.update(rows, double_weight_and_lower_velocity)
    np.testing.assert_array_equal(kept.read("weight")[taken], 2 * before["weight"][taken])
    np.testing.assert_array_equal(kept.read("velocity")[taken], before["velocity"][taken] - 1)
    for name in kept.names:
        np.testing.assert_array_equal(kept.read(name)[others], before[name][others])


def test_idle_rows_are_updated_with_a_gradient_of_zero():
    kept = centres()
    before = {name: kept.read(name) for name in kept.names}
    rows = kept.take(np.array([0, 2]))
    rows.gradient.assign(paddle.ones_like(rows.weight))

    def update(weight, gradient, state):
        state["velocity"].scale_(0.5)
        weight.subtract_(gradient)

    kept.update(rows, update, idle=True)
    moved = before["weight"].copy()
    moved[[0, 2]] -= 1
    np.testing.assert_array_equal(kept.read("weight"), moved)
    np.testing.assert_array_equal(kept.read("velocity"), 0.5 * before["velocity"])


@pytest.mark.parametrize("numbers", [None, [0, 3, 4, 5, 9]])
def test_work_in_pieces_changes_nothing(numbers, monkeypatch):
    """More rows than one piece has: every row once, with its own gradient."""
    whole = np.random.default_rng(1).normal(0, 1, (10, 3)).astype("float32")
    taken = np.arange(10) if numbers is None else np.array(numbers)
    for idle in (False, True):
        monkeypatch.setattr("plsc.recognition.heads.gradient.CPU_CHUNK", 3)
        kept = ClassCentres.of(RowShard(10), whole, state_names=())
        rows = kept.take(None if numbers is None else taken)
        gradient = np.arange(3 * len(taken), dtype="float32").reshape(-1, 3)
        rows.gradient.assign(paddle.to_tensor(gradient))
        np.testing.assert_allclose(
            rows.norms.numpy(), np.linalg.norm(whole[taken], axis=1), rtol=1e-6
        )
        assert rows.gradient.squared_norm().item() == pytest.approx((gradient**2).sum())
        kept.update(rows, lambda weight, gradient, state: weight.add_(gradient), idle=idle)
        expected = whole.copy()
        expected[taken] += gradient
        np.testing.assert_array_equal(kept.read("weight"), expected)


def test_what_goes_beyond_the_rows_is_not_written():
    with pytest.raises(AssertionError):
        centres().write("velocity", np.zeros((2, 3), "float32"), 3)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_rows_taken_after_others_are_right_however_many(dtype):
    """They lie in the memory of those before them."""
    values = np.arange(24, dtype="float32").reshape(8, 3).astype(dtype)
    rows = ClassCentres.of(RowShard(8, 0, 1), values, state_names=())
    for numbers in ([1, 2], [0, 3, 4, 7], [5], [2, 6]):
        taken = rows.take(np.array(numbers))
        assert np.array_equal(taken.weight.numpy(), values[numbers])
        taken.weight.zero_()
        assert np.array_equal(rows.take(None).weight.numpy(), values)
    assert np.array_equal(rows.read("weight"), values)


SAMPLED_THEN_ALL = """
import os
from pathlib import Path
import numpy as np
from plsc.distributed.sharding import RowShard
from plsc.recognition.heads.centres import ClassCentres

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

kept = ClassCentres.zeros(RowShard(60_000), 512, state_names=())
kept.take(np.arange(0, 60_000, 2))
before = resident()
kept.take(None)
assert before - resident() > 0.8 * 30_000 * 512 * 4, (before, resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_memory_of_sampled_rows_is_not_kept_beside_all():
    """30,000 rows of 2 kB: so large a piece goes back to the system once it is free.

    In a process of its own, whose heap has no hole of that size yet.
    """
    python("-c", SAMPLED_THEN_ALL, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
