"""Calibration of magnitudes: what the quartiles get, order, bounds, outliers, foreign content."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from plsc.errors import UserError
from plsc.inference.quality_calibration import Calibration, refuse_constant

MAGNITUDES = np.random.default_rng(1).gamma(60, 0.4, 800)
PREPARED = {"mean": (127.5,) * 3, "std": (1.0, 2.0, 3.0), "colour_order": "BGR", "size": (112, 96)}

some = arrays(np.float64, st.integers(10, 60), elements=st.floats(0, 200, width=32))
anywhere = arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1e6))


def fitted(magnitudes, **more) -> Calibration | None:
    try:
        return Calibration.fit(magnitudes, **more)
    except UserError:
        return None


def test_quartiles_are_25_and_75_and_the_curve_is_logistic():
    found = Calibration.fit(MAGNITUDES)
    low, high = np.percentile(MAGNITUDES, [25, 75])
    places = np.array([low, (low + high) / 2, high, 0.0, 11.0, 31.0])
    steepness = 2 * np.log(3) / (high - low)
    expected = 100 / (1 + np.exp(-steepness * (places - (low + high) / 2)))
    np.testing.assert_allclose(found.scores(places), expected, rtol=1e-6)
    np.testing.assert_allclose(found.scores(places[:3]), [25, 50, 75], atol=1e-5)


def test_percentiles_are_shares_of_the_reference_set():
    found = Calibration.fit(MAGNITUDES)
    places = np.linspace(10, 40, 301)
    below = np.searchsorted(np.sort(MAGNITUDES), places) / len(MAGNITUDES) * 100
    np.testing.assert_allclose(found.percentiles(places), below, atol=1)
    assert found.percentiles([0, 1e30]).tolist() == [0, 100]


def test_of_equal_magnitudes_half_are_below():
    values = [1.0] * 20 + [2.0] * 20 + [3.0] * 20
    percentiles = Calibration.fit(values).percentiles([0.5, 1, 2, 3, 3.5])
    np.testing.assert_allclose(percentiles, [0, 100 / 6, 50, 500 / 6, 100], atol=1)


@given(some, anywhere)
def test_order_and_bounds(magnitudes, others):
    if (found := fitted(magnitudes)) is None:
        return
    rising = np.sort(others)
    for values in (found.scores(rising), found.percentiles(rising)):
        assert values.dtype == np.float64 and values.shape == rising.shape
        assert (np.diff(values) >= 0).all()
        assert values[0] >= 0 and values[-1] <= 100


def test_scores_tell_apart_what_percentiles_do_not():
    found = Calibration.fit(MAGNITUDES)
    above = MAGNITUDES.max() + np.array([0, 1, 2])
    assert (np.diff(found.scores(above)) > 0).all()
    assert (found.percentiles(above) == 100).all()


@pytest.mark.parametrize("wild", [0.0, 1e4, 1e99])
def test_a_wild_outlier_moves_nothing(wild):
    plain, spoilt = Calibration.fit(MAGNITUDES), Calibration.fit([*MAGNITUDES, wild, wild])
    places = np.linspace(MAGNITUDES.min(), MAGNITUDES.max(), 50)
    assert np.abs(plain.scores(places) - spoilt.scores(places)).max() < 1
    assert np.abs(plain.percentiles(places) - spoilt.percentiles(places)).max() < 1.5


def test_what_is_no_number_stays_so():
    found = Calibration.fit(MAGNITUDES)
    assert np.isnan(found.scores([np.nan, 20])).tolist() == [True, False]
    assert np.isnan(found.percentiles([np.nan, 20])).tolist() == [True, False]


@given(some)
def test_round_trip(magnitudes):
    found = fitted(magnitudes, set_name="gallery é", prepared=PREPARED)
    if found is not None:
        again = Calibration.from_dict(json.loads(json.dumps(found.to_dict())), source="file")
        assert again == found and again.num_images == len(magnitudes)


@pytest.mark.parametrize(
    ("magnitudes", "said"),
    [
        ([], "needs 10 images or more, better hundreds of all qualities; got 0"),
        ([21.0], "got 1$"),
        ([*range(9)], "got 9$"),
        ([*range(10), np.nan], "magnitude 10 is no length of an embedding: nan"),
        ([np.inf, *range(10)], "magnitude 0 is no length of an embedding: inf"),
        ([-1, *range(10)], "magnitude 0 is no length of an embedding: -1"),
        ([1e200, *range(10)], "magnitude 0 is no length"),
        (np.ones((10, 2)), r"one number for each image, got \[10, 2\]"),
        (1 + 1e-7 * np.arange(20), "all 20 .* 1: .*length 1.*Export.preprocessing=none"),
        (1 + 3e-4 * np.sin(np.arange(20)), "Export.preprocessing=none"),  # float16
        ([23.5] * 20, "all 20 magnitudes are the same, 23.5: .*copies of one image"),
        ([0.0] * 20, "all 20 magnitudes are the same, 0:"),
        ([5.0] * 20 + [6, 7], "half of 22 magnitudes are the same, 5:"),
    ],
)
def test_nothing_is_learned_from(magnitudes, said):
    with pytest.raises(UserError, match=said) as failure:
        Calibration.fit(magnitudes)
    assert "\n" not in str(failure.value)


def test_lengths_near_each_other_are_not_the_same():
    refuse_constant([1.0, 1.002])
    with pytest.raises(UserError, match="all 1 magnitudes are the same"):
        refuse_constant([3.0])


DAMAGES = {
    "quantiles": [None, [], "1", [1.0] * 101, [*range(100)], [*range(102)], [*range(100, -1, -1)]],
    "num_images": [None, 9, True, 10.5, "800", -1],
    "set": [None, 3, "a\nb", "\x1b[2J", "x" * 201],
    "prepared": [None, [], {"mean": "x"}, {"flip": True}, {"size": [1, float("nan")]}]
    + [{"colour_order": "GBR"}, {"std": [1.0]}, {"mean": [True, True, True]}, {"mean": 127.5}],
    "version": [None, 0, 2, "1", True, [1], 1.5],
}
DAMAGES["quantiles"] += [
    [*range(100), item] for item in (float("nan"), float("inf"), 10**400, "100", None, True, [1])
] + [[-1, *range(100)], [*range(50), 3, *range(51, 101)]]


@pytest.mark.parametrize("key", DAMAGES)
def test_damaged_content_is_refused_in_one_line(key):
    sound = Calibration.fit(MAGNITUDES, set_name="set", prepared=PREPARED).to_dict()
    for damage in [*DAMAGES[key], ...]:
        content = copy.deepcopy(sound) | {key: damage}
        if damage is ...:
            del content[key]
        with pytest.raises(UserError, match=r"^c\.json: .*quality calibration.*--calibrate") as it:
            Calibration.from_dict(content, source="c.json")
        assert str(it.value).isprintable(), damage


@pytest.mark.parametrize("content", [None, [], "text", 3, {}, [1] * 1000])
def test_what_is_no_calibration_at_all(content):
    with pytest.raises(UserError, match=r"^c\.json: .*quality calibration") as it:
        Calibration.from_dict(content, source="c.json")
    assert len(str(it.value)) < 200


def test_more_entries_are_left_alone():
    content = Calibration.fit(MAGNITUDES).to_dict()
    found = Calibration.from_dict({**content, "model": {"path": "m"}}, source="c.json")
    assert found.to_dict() == content
