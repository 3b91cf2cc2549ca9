import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from plsc.data.loader.generators import ImageGenerators

COUNT = 20_000
indices = st.integers(0, 2**63 - 1)


def draws(generator):
    """Numbers of several kinds; the 32 bit ones leave half of a number behind."""
    return [
        generator.random(),
        int(generator.integers(0, 10, dtype=np.uint32)),
        generator.uniform(0.5, 0.8),
        generator.standard_normal(),
        generator.random(dtype=np.float32),
    ]


@given(st.lists(indices, min_size=1, max_size=6), st.integers(0, 40))
def test_an_image_has_its_numbers_whatever_was_drawn_before(order, left_over):
    shared = ImageGenerators(2022, 3)
    for index in order:
        generator = shared(index)
        assert draws(generator) == draws(ImageGenerators(2022, 3)(index))
        generator.random(left_over, np.float32)


def test_numbers_are_philoxs_at_the_images_own_place():
    """A checkpoint of today must go on with the same images tomorrow."""
    key = np.random.SeedSequence([7, 2]).generate_state(2, np.uint64)
    for index in (0, 1, 42_500_000):
        expected = np.random.Philox(key=key, counter=[0, index, 0, 0])
        assert draws(ImageGenerators(7, 2)(index)) == draws(np.random.Generator(expected))
    assert ImageGenerators(7, 2)(5).random() == 0.8896209847275699


@given(st.tuples(st.integers(0, 2**70), indices, indices), st.integers(0, 2))
def test_seed_epoch_and_index_all_count(place, changed):
    other = [number + (position == changed) for position, number in enumerate(place)]
    numbers = [
        ImageGenerators(seed, epoch)(index).random(4).tolist()
        for seed, epoch, index in (place, other)
    ]
    assert numbers[0] != numbers[1]


@pytest.mark.parametrize("vary", ["index", "epoch"])
@pytest.mark.parametrize("position", [0, 1, 5])
def test_numbers_of_neighbouring_images_are_even_and_know_nothing_of_each_other(vary, position):
    if vary == "index":
        generators = ImageGenerators(1, 0)
        rows = [generators(index).random(6) for index in range(COUNT)]
    else:
        rows = [ImageGenerators(1, epoch)(9).random(6) for epoch in range(COUNT // 10)]
    values = np.array(rows)[:, position]
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    for apart in (1, 2, 64):
        assert stats.pearsonr(values[:-apart], values[apart:]).pvalue > 1e-3
    flips = values < 0.5
    assert stats.chisquare(np.bincount(flips[:-1] * 2 + flips[1:], minlength=4)).pvalue > 1e-3
