import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plsc.data.loader.sampler import EpochSampler
from plsc.errors import UserError

sizes = st.integers(1, 60)
batch_sizes = st.integers(1, 7)
worlds = st.integers(1, 5)


def taken(num_images, world_size, batch_size, *, epoch=0, consumed=0, **parameters):
    """[steps, W * b]: what all ranks take, in the order of the global batches."""
    ranks = []
    for rank in range(world_size):
        sampler = EpochSampler(
            num_images, batch_size=batch_size, rank=rank, world_size=world_size, **parameters
        )
        rows = list(sampler.batches(epoch, consumed))
        assert len(rows) == sampler.steps(consumed)
        ranks.append(np.array(rows, np.int64).reshape(-1, batch_size))
    return np.concatenate(ranks, axis=1)


@given(sizes, worlds, batch_sizes, st.booleans(), st.integers(0, 3), st.integers(0, 3))
def test_each_image_once_and_the_last_batch_filled_from_the_start(
    num_images, world_size, batch_size, shuffle, seed, epoch
):
    batches = taken(num_images, world_size, batch_size, epoch=epoch, shuffle=shuffle, seed=seed)
    flat = batches.reshape(-1)
    assert sorted(flat[:num_images]) == list(range(num_images))
    assert np.array_equal(flat, np.resize(flat[:num_images], len(flat)))  # repeats cyclically
    assert len(flat) - num_images < world_size * batch_size
    if not shuffle:
        assert list(flat[:num_images]) == list(range(num_images))


@given(sizes, worlds, batch_sizes, worlds, batch_sizes, st.data())
def test_another_world_goes_on_where_the_first_stopped(
    num_images, world_size, batch_size, later_world, later_batch, data
):
    first = taken(num_images, world_size, batch_size, epoch=4, seed=9)
    stop = data.draw(st.integers(0, len(first)))
    consumed = stop * world_size * batch_size
    rest = taken(num_images, later_world, later_batch, epoch=4, seed=9, consumed=consumed)
    both = np.concatenate([first[:stop].reshape(-1), rest.reshape(-1)])
    assert sorted(both[:num_images]) == list(range(num_images))
    assert len(both) - num_images < max(world_size * batch_size, later_world * later_batch)


@given(sizes, worlds, batch_sizes, st.data())
def test_the_same_world_goes_on_with_the_same_batches(num_images, world_size, batch_size, data):
    whole = taken(num_images, world_size, batch_size, seed=3)
    stop = data.draw(st.integers(0, len(whole)))
    rest = taken(
        num_images, world_size, batch_size, seed=3, consumed=stop * world_size * batch_size
    )
    assert np.array_equal(rest, whole[stop:])


@given(sizes, worlds, batch_sizes)
def test_drop_last_takes_whole_batches_only(num_images, world_size, batch_size):
    if num_images < world_size * batch_size:
        with pytest.raises(UserError, match=f"{num_images} images are fewer .* batch_size"):
            taken(num_images, world_size, batch_size, drop_last=True)
        return
    flat = taken(num_images, world_size, batch_size, drop_last=True).reshape(-1)
    assert (
        len(set(flat))
        == len(flat)
        == num_images // (world_size * batch_size) * (world_size * batch_size)
    )
    filled = taken(num_images, world_size, batch_size).reshape(-1)
    assert np.array_equal(flat, filled[: len(flat)])


def test_order_is_the_documented_permutation():
    """A checkpoint of today must mean the same position tomorrow."""
    sampler = EpochSampler(7, batch_size=2, seed=5)
    assert np.array_equal(sampler.order(3), np.random.default_rng([5, 3]).permutation(7))
    orders = {
        tuple(EpochSampler(50, batch_size=1, seed=s).order(e)) for s in (0, 1) for e in (0, 1)
    }
    assert len(orders) == 4


@pytest.mark.parametrize("num_images", [1, 2, 1000, 70_001])
def test_half_the_memory_changes_no_order(num_images):
    order = EpochSampler(num_images, batch_size=1, seed=8).order(2)
    assert order.dtype == np.int32
    assert np.array_equal(order, np.random.default_rng([8, 2]).permutation(num_images))


def test_an_order_is_held_once_wherever_the_epoch_begins():
    """42.5 million images: 170 MB, and not twice that after a resumption."""
    sampler = EpochSampler(1_000_000, batch_size=8)
    tracemalloc.start()
    try:
        batches = sampler.batches(0, consumed=500_000)
        assert next(batches).dtype == np.int64
        assert tracemalloc.get_traced_memory()[1] < 4.1e6
    finally:
        tracemalloc.stop()


@given(sizes, worlds, batch_sizes, worlds, batch_sizes, st.data())
def test_without_the_last_batch_another_world_goes_on_with_images_not_yet_taken(
    num_images, world_size, batch_size, later_world, later_batch, data
):
    if num_images < max(world_size * batch_size, later_world * later_batch):
        return
    first = taken(num_images, world_size, batch_size, epoch=1, drop_last=True)
    stop = data.draw(st.integers(0, len(first)))
    consumed = stop * world_size * batch_size
    rest = taken(
        num_images, later_world, later_batch, epoch=1, drop_last=True, consumed=consumed
    ).reshape(-1)
    both = [*first[:stop].reshape(-1), *rest]
    assert len(set(both)) == len(both)
    assert num_images - len(both) < later_world * later_batch


@given(sizes, st.lists(st.tuples(worlds, batch_sizes, st.integers(0, 5)), max_size=5))
def test_each_image_once_over_any_number_of_stops(num_images, legs):
    """A run that goes on with other ranks and batches again and again, to the epoch's end."""
    seen, consumed = [], 0
    for world_size, batch_size, steps in [*legs, (2, 3, num_images)]:
        batches = taken(num_images, world_size, batch_size, epoch=6, consumed=consumed)[:steps]
        seen += batches.reshape(-1).tolist()
        consumed += batches.size
    assert sorted(seen[:num_images]) == list(range(num_images))


def test_rows_of_each_rank():
    batches = [
        list(EpochSampler(5, batch_size=2, rank=r, world_size=2, shuffle=False).batches(0))
        for r in (0, 1)
    ]
    assert [[list(rows) for rows in rank] for rank in batches] == [
        [[0, 1], [4, 0]],
        [[2, 3], [1, 2]],
    ]


def test_steps_of_the_published_configs():
    """MS1MV3 has 5,179,510 images: 5059 steps at 8 x 128, 40465 at 1 x 128, 2530 at 8 x 256."""
    for world_size, batch_size, steps in [(8, 128, 5059), (1, 128, 40465), (8, 256, 2530)]:
        sampler = EpochSampler(5_179_510, batch_size=batch_size, world_size=world_size)
        assert sampler.steps_per_epoch == steps
