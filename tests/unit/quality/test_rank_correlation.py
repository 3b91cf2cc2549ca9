import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from plsc.quality.rank_correlation import ranks, spearman, spearman_interval

VALUES = st.lists(st.integers(-3, 3), min_size=2, max_size=30)


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_ranks_are_those_of_scipy(values):
    np.testing.assert_array_equal(ranks(values), stats.rankdata(values))


@settings(max_examples=100, deadline=None)
@given(VALUES, st.randoms(use_true_random=False))
def test_correlation_is_that_of_scipy(first, random):
    second = [random.randint(-3, 3) for _ in first]
    if min(np.ptp(first), np.ptp(second)) == 0:
        assert np.isnan(spearman(first, second))
    else:
        wanted = stats.spearmanr(first, second).statistic
        assert spearman(first, second) == pytest.approx(wanted, abs=1e-12)


def test_only_the_order_counts():
    x = np.random.default_rng(0).normal(size=50)
    assert spearman(x, np.exp(x)) == pytest.approx(1) == -spearman(x, -(x**3))


def test_one_value_or_none_has_no_correlation():
    assert np.isnan(spearman([], [])) and np.isnan(spearman([1], [2]))


@pytest.mark.parametrize("bad", [[1.0, np.nan, 2.0], [np.nan] * 3])
def test_nan_has_no_rank(bad):
    good = [1.0, 2.0, 3.0]
    for call in (
        lambda: ranks(bad),
        lambda: spearman(bad, good),
        lambda: spearman(good, bad),
        lambda: spearman_interval(good, bad, [0, 0, 0], resamples=2),
    ):
        with pytest.raises(AssertionError, match="NaN among the values"):
            call()


class TestInterval:
    def correlated(self, rng, people, each, of_people):
        """x and y of `each` images of `people`; a share of both is the person's own."""
        own = np.repeat(rng.normal(size=(2, people)), each, axis=1) * of_people
        common = rng.normal(size=people * each) * 0.7
        x, y = own + common + rng.normal(size=(2, people * each)) * 0.7
        return x, y, np.repeat(np.arange(people), each)

    def test_holds_the_truth_about_as_often_as_it_says(self):
        rng, inside = np.random.default_rng(0), 0
        truth = 6 / np.pi * np.arcsin(0.25)  # of a normal pair whose correlation is 0.5
        for _ in range(60):
            x, y, people = self.correlated(rng, 40, 3, of_people=0.0)
            low, high = spearman_interval(x, y, people, resamples=200)
            inside += low < truth < high
        assert 51 <= inside <= 60

    def test_is_wider_where_a_person_s_images_are_alike(self):
        x, y, people = self.correlated(np.random.default_rng(1), 30, 20, of_people=2.0)
        widths = [
            float(np.diff(spearman_interval(x, y, groups))[0])
            for groups in (people, np.arange(len(x)))
        ]
        assert widths[0] > 2 * widths[1]

    def test_is_the_same_for_the_same_seed_and_any_names_of_groups(self):
        x, y, people = self.correlated(np.random.default_rng(2), 10, 4, of_people=1.0)
        names = np.array([f"person {number:02d}" for number in people])
        order = np.random.default_rng(3).permutation(len(x))
        wanted = spearman_interval(x, y, people, seed=5)
        assert wanted == spearman_interval(x, y, names, seed=5)
        np.testing.assert_allclose(
            spearman_interval(x[order], y[order], people[order], seed=5), wanted, atol=1e-12
        )
        assert wanted != spearman_interval(x, y, people, seed=6)
