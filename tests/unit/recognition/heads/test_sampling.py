"""Which classes take part in a step: all positives, uniform negatives, cost by the sample."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plsc.distributed.sharding import RowShard
from plsc.recognition.heads.sampling import columns_of, draw_distinct, ratio_at, sample_rows


@st.composite
def problems(draw):
    num_classes, size = draw(st.integers(1, 80)), draw(st.integers(1, 4))
    size = min(size, num_classes)
    shard = RowShard(num_classes, draw(st.integers(0, size - 1)), size)
    labels = draw(st.lists(st.integers(0, num_classes - 1), max_size=40))
    return np.array(labels, np.int64), shard, draw(st.integers(1, 90)), draw(st.integers(0, 2**32))


def local(labels, shard):
    """Row of each label on this rank, -1 where another owns it."""
    return np.where(shard.owns(labels), labels - shard.start, -1)


def draw(labels, shard, num_sample, generator, **options):
    numbers = local(labels, shard)
    return sample_rows(
        np.unique(numbers[numbers >= 0]),
        num_rows=shard.num_local,
        num_sample=num_sample,
        generator=generator,
        **options,
    )


def sampled(labels, shard, num_sample, seed, **options):
    return draw(labels, shard, num_sample, np.random.default_rng(seed), **options)


@settings(max_examples=300, deadline=None)
@given(problems())
def test_rows_of_a_sample(problem):
    labels, shard, num_sample, seed = problem
    rows = sampled(*problem)
    positives = {label - shard.start for label in labels.tolist() if shard.owns(label)}
    assert rows.dtype == np.int64
    assert (np.diff(rows) > 0).all()  # ascending and distinct
    assert len(rows) == min(max(num_sample, len(positives)), shard.num_local)
    assert positives <= set(rows.tolist())
    assert rows.min() >= 0
    assert rows.max() < shard.num_local
    np.testing.assert_array_equal(rows, sampled(*problem))


@settings(max_examples=200, deadline=None)
@given(problems())
def test_labels_and_columns_name_the_same_class(problem):
    labels, shard, _, _ = problem
    rows = sampled(*problem)
    columns = columns_of(local(labels, shard), rows)
    owned = shard.owns(labels)
    assert (columns[~owned] == -1).all()
    np.testing.assert_array_equal(rows[columns[owned]] + shard.start, labels[owned])
    everything = columns_of(local(labels, shard), None)
    assert (everything[~owned] == -1).all()
    np.testing.assert_array_equal(everything[owned] + shard.start, labels[owned])


def test_a_class_that_was_not_sampled_is_not_taken_for_another():
    with pytest.raises(AssertionError):
        columns_of(np.array([4]), np.array([3, 5]))


def test_positives_may_overflow_the_sample():
    shard = RowShard(20, 1, 2)
    labels = np.array([3, 19, 12, 10, 12, 15])
    assert sampled(labels, shard, 2, 0).tolist() == [0, 2, 5, 9]
    assert len(sampled(labels, shard, 4, 0)) == 4
    assert len(sampled(labels, shard, 5, 0)) == 5


def test_a_rank_without_a_positive():
    rows = sampled(np.array([1, 2, 3]), RowShard(20, 1, 2), 4, 0)
    assert len(rows) == 4
    assert columns_of(np.array([-1, -1, -1]), rows).tolist() == [-1, -1, -1]


def test_negatives_are_uniform():
    """Chi-square over 46 negatives, corrected for drawing without replacement."""
    shard, labels = RowShard(50), np.array([3, 17, 18, 49, 3])
    generator = np.random.default_rng(2022)
    draws, num_sample = 6000, 14
    rows = np.concatenate([draw(labels, shard, num_sample, generator) for _ in range(draws)])
    counts = np.bincount(rows, minlength=50)
    positives = [3, 17, 18, 49]
    assert (counts[positives] == draws).all()
    negatives = np.delete(counts, positives)
    share = (num_sample - 4) / 46
    expected = draws * share
    variance = expected * (1 - share)
    statistic = ((negatives - expected) ** 2 / variance).sum() * 45 / 46
    assert 21.2 < statistic < 80.1  # 0.1 % and 99.9 % of chi-square with 45 degrees of freedom


def test_pairs_of_neighbours_are_not_drawn_together():
    """A draw in blocks would cover each class alike and still fail this."""
    generator = np.random.default_rng(7)
    together = 0
    for _ in range(2000):
        rows = draw(np.array([0]), RowShard(101), 11, generator)
        together += np.isin(rows[rows > 0] + 1, rows).sum()
    # 99 pairs of neighbours, each drawn with probability 10/100 · 9/99
    assert together == pytest.approx(2000 * 99 * 10 / 100 * 9 / 99, rel=0.1)


def test_cost_does_not_follow_the_number_of_classes():
    labels = np.random.default_rng(0).integers(0, 10**9, 256)
    sampled(labels, RowShard(10**9), 1000, 0)
    tracemalloc.start()
    started = time.perf_counter()
    rows = sampled(labels, RowShard(10**9), 1000, 1)
    elapsed, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == 1000
    assert elapsed < 0.5
    assert peak < 2**20


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.data(), st.integers(0, 2**32))
def test_distinct_draws(population, data, seed):
    count = data.draw(st.integers(0, population))
    drawn = draw_distinct(np.random.default_rng(seed), population, count)
    assert len(drawn) == count
    assert (np.diff(drawn) > 0).all()
    assert count == 0 or (drawn[0] >= 0 and drawn[-1] < population)


@pytest.mark.parametrize("count", [1, 3, 6, 7, 11])
def test_every_subset_is_equally_likely(count):
    """Chi-square over single members and over pairs of 12, for every way of drawing."""
    generator, draws, population = np.random.default_rng(count), 8000, 12
    member = np.zeros((draws, population))
    for number in range(draws):
        member[number, draw_distinct(generator, population, count)] = 1
    share = count / population
    expected, variance = draws * share, draws * share * (1 - share)
    single = ((member.sum(axis=0) - expected) ** 2 / variance).sum() * (population - 1) / population
    assert 1.8 < single < 31.3  # 0.1 % and 99.9 % of chi-square with 11 degrees of freedom
    pairs = (member.T @ member)[np.triu_indices(population, 1)]
    together = count * (count - 1) / (population * (population - 1))
    assert abs(pairs - draws * together).max() <= 5 * np.sqrt(draws * together * (1 - together))


@settings(max_examples=200, deadline=None)
@given(problems(), st.sampled_from([2, 7, 64]))
def test_blocks_of_neighbours(problem, block):
    labels, shard, num_sample, seed = problem
    rows = sampled(*problem, block=block)
    own = np.unique(local(labels, shard))
    positives = own[own >= 0]
    assert (np.diff(rows) > 0).all()
    assert np.isin(positives, rows).all()
    assert rows.min(initial=0) >= 0
    assert rows.max(initial=0) < shard.num_local
    for start in np.unique(np.setdiff1d(rows, positives) // block) * block:
        whole = np.arange(start, min(start + block, shard.num_local))
        assert np.isin(whole, rows).all()  # a block is drawn whole
    wanted = min(num_sample, shard.num_local) - len(positives)
    assert len(rows) <= len(positives) + max(0, wanted + block - 1)
    if len(rows) < shard.num_local and wanted > 0:
        assert len(rows) >= max(wanted - block, 1)


def test_blocks_cover_all_rows_alike():
    generator = np.random.default_rng(5)
    labels, shard = np.array([40]), RowShard(100)
    rows = np.concatenate([draw(labels, shard, 25, generator, block=8) for _ in range(4000)])
    counts = np.bincount(rows, minlength=100)
    assert counts[40] == 4000
    negatives = np.delete(counts, 40)
    share = 3 / 13  # 24 negatives, three blocks of 13
    assert abs(negatives - 4000 * share).max() < 5 * np.sqrt(4000 * share * (1 - share))


def test_ratio_by_the_fraction_of_training():
    assert [ratio_at(0.3, fraction) for fraction in (0, 0.5, 1)] == [0.3] * 3
    schedule = ((0.0, 0.1), (0.3, 0.5), (0.8, 1.0))
    moments = {0: 0.1, 0.2999: 0.1, 3 / 10: 0.5, 0.79: 0.5, 24 / 30: 1.0, 1: 1.0}
    assert {moment: ratio_at(schedule, moment) for moment in moments} == moments
