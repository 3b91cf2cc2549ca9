"""ROC figures against loops over all pairs and thresholds, scipy, and known cases."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from plsc.errors import UserError
from plsc.recognition.metrics.roc import FARS, Threshold, far_name, roc_curve

# Few different values, so that ties within and between the two kinds are the rule.
COARSE = st.integers(-4, 4).map(lambda step: step / 4)
FINE = st.floats(-1, 1, allow_subnormal=False)
SPACED = st.integers(-(10**6), 10**6).map(lambda step: step / 10**6)


@st.composite
def scored_pairs(draw, fine=FINE):
    """(scores, issame) with at least one pair of each kind."""
    value = draw(st.sampled_from([COARSE, fine, COARSE | fine]))
    same, impostors = (draw(st.lists(value, min_size=1, max_size=40)) for _ in range(2))
    pairs = draw(st.permutations([(s, True) for s in same] + [(s, False) for s in impostors]))
    return np.array([score for score, _ in pairs]), np.array([kind for _, kind in pairs])


def counts_at(scores, issame, threshold):
    """Accepted same and impostor pairs, by the definition."""
    accepted = [
        bool(kind) for score, kind in zip(scores, issame, strict=True) if score >= threshold
    ]
    return accepted.count(True), accepted.count(False)


@given(scored_pairs())
def test_a_point_accepts_what_its_score_accepts(pairs):
    scores, issame = pairs
    curve = roc_curve(scores, issame)
    assert list(curve.scores[1:]) == sorted(set(scores.tolist()), reverse=True)
    assert curve.scores[0] > scores.max()
    for point, threshold in enumerate(curve.scores):
        same, impostors = counts_at(scores, issame, threshold)
        assert (curve.accepted_same[point], curve.accepted_impostors[point]) == (same, impostors)
        assert curve.tar[point] == same / issame.sum()
        assert curve.far[point] == impostors / (~issame).sum()


@given(scored_pairs(), st.sampled_from(["float16", "float32", "float64"]))
def test_the_curve_is_that_of_the_pairs_in_the_order_of_their_scores(pairs, dtype):
    scores, issame = pairs[0].astype(dtype), pairs[1]
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    values, same = scores[order].astype(np.float64), issame[order]
    ends = [n for n, value in enumerate(values, 1) if n == len(values) or value != values[n]]
    curve = roc_curve(scores, issame)
    # The first is the float64 above the highest, whatever dtype the scores have.
    expected = [np.nextafter(values[0], np.inf), *(values[end - 1] for end in ends)]
    np.testing.assert_array_equal(curve.scores, np.array(expected), strict=True)
    counts = [[0, *(int(kind[:end].sum()) for end in ends)] for kind in (same, ~same)]
    np.testing.assert_array_equal(curve.accepted_same, np.array(counts[0]), strict=True)
    np.testing.assert_array_equal(curve.accepted_impostors, np.array(counts[1]), strict=True)


@given(scored_pairs())
def test_area_is_the_mann_whitney_statistic(pairs):
    scores, issame = pairs
    same, impostors = scores[issame], scores[~issame]
    wins = sum((a > b) + 0.5 * (a == b) for a in same.tolist() for b in impostors.tolist())
    area = roc_curve(scores, issame).auc
    assert area == wins / (len(same) * len(impostors))
    assert area == pytest.approx(
        mannwhitneyu(same, impostors).statistic / (len(same) * len(impostors)), abs=1e-12
    )


def by_bisection(far, tar):
    """Where a curve of straight lines through the points crosses FAR = 1 - TAR.

    The curve is written as a function of far + tar, which rises along it.
    """
    along = [x + y for x, y in zip(far, tar, strict=True)]
    low, high = 0.0, 2.0
    for _ in range(80):
        middle = (low + high) / 2
        x, y = np.interp(middle, along, far), np.interp(middle, along, tar)
        low, high = (low, middle) if x >= 1 - y else (middle, high)
    return np.interp(high, along, far)


@given(scored_pairs(SPACED))
def test_equal_error_rate_lies_on_the_curve(pairs):
    scores, issame = pairs
    counts = [(0, 0)] + [
        counts_at(scores, issame, threshold)
        for threshold in sorted(set(scores.tolist()), reverse=True)
    ]
    far = [impostors / (~issame).sum() for _, impostors in counts]
    tar = [same / issame.sum() for same, _ in counts]
    found = roc_curve(scores, issame).eer
    assert found.rate == pytest.approx(by_bisection(far, tar), abs=1e-9)
    # A threshold just above refuses at least as many as it accepts wrongly; the next score, not.
    cosine = found.threshold.cosine
    below = max(score for score in scores if score <= cosine + 1e-9)
    for threshold, sign in ((cosine + 1e-8, 1), (below, -1)):
        same, impostors = counts_at(scores, issame, threshold)
        far_there, frr_there = impostors / (~issame).sum(), 1 - same / issame.sum()
        assert sign * (frr_there - far_there) >= -1e-9


@settings(max_examples=200)
@given(scored_pairs(), st.sampled_from([*FARS, 0.25, 0.5, 1.0]) | st.floats(1e-6, 1))
def test_an_operating_point_is_the_most_that_keeps_the_rate(pairs, far):
    scores, issame = pairs
    point = roc_curve(scores, issame).at(far)
    num_impostors = int((~issame).sum())
    assert point.impostors == num_impostors
    allowed = far * num_impostors * (1 + 1e-9)
    assert point.resolved == (allowed >= 1)
    if not point.resolved:
        assert point.tar is point.threshold is point.accepted is None
        return
    same, impostors = counts_at(scores, issame, point.threshold.cosine)
    assert point.accepted == impostors <= allowed
    assert point.tar == same / issame.sum()
    lower = [score for score in scores if score < point.threshold.cosine]
    if lower:
        assert counts_at(scores, issame, max(lower))[1] > allowed


@given(scored_pairs())
def test_tar_does_not_fall_as_the_rate_rises(pairs):
    points = [roc_curve(*pairs).at(far) for far in sorted([*FARS, 0.3, 0.5, 0.9, 1.0])]
    rates = [point.tar for point in points if point.resolved]
    assert rates == sorted(rates)
    assert [point.resolved for point in points] == sorted(point.resolved for point in points)
    thresholds = [point.threshold.cosine for point in points if point.resolved]
    assert thresholds == sorted(thresholds, reverse=True)
    assert rates[-1] == 1  # at 1.0 everybody


@given(scored_pairs())
def test_order_and_units_of_the_scores_do_not_matter(pairs):
    scores, issame = pairs
    curve = roc_curve(scores, issame)
    turned = roc_curve(scores[::-1] * 8, issame[::-1])  # times a power of two is exact
    np.testing.assert_array_equal(curve.accepted_same, turned.accepted_same)
    np.testing.assert_array_equal(curve.accepted_impostors, turned.accepted_impostors)
    swapped = roc_curve(-scores, ~issame)  # impostors and same pairs change places
    assert swapped.auc == pytest.approx(curve.auc, abs=1e-12)
    assert swapped.eer.rate == pytest.approx(curve.eer.rate, abs=1e-9)


@pytest.mark.parametrize("high", [0.1, 1])
def test_the_drawn_curve_keeps_its_rates(high):
    random = np.random.default_rng(0)
    same = random.random(5000) < 0.1
    scores = (random.normal(size=5000) + 2 * same).round(3)
    far, tar = (curve := roc_curve(scores, same)).between(1e-6, high)
    assert far[0] == 1 / (~same).sum()  # below one impostor pair there is nothing to draw
    assert far[-1] == pytest.approx(high)
    assert (np.diff(np.log(far)) > 0).all() and (np.diff(tar) >= 0).all()
    assert tar.tolist() == [curve.at(rate).tar for rate in far]
    impostors = scores[~same]
    for rate, share in list(zip(far, tar, strict=True))[::37]:
        allowed = [t for t in np.unique(scores) if (impostors >= t).mean() <= rate * (1 + 1e-9)]
        assert share == (scores[same] >= min(allowed)).mean()


def test_a_curve_of_one_impostor_can_be_drawn():
    alone = roc_curve([0.5, 0.4], [True, False])
    assert alone.between(1e-6, 1)[1][-1] == 1
    assert alone.between(1e-6, 0.1)[1].tolist() == [1, 1]  # the same pair lies above it


def evenly(num_same, num_impostors):
    """Same pairs at 0.5 to 1, impostors at -0.5 to 0.7: no ties, some overlap."""
    scores = np.concatenate([np.linspace(0.5, 1, num_same), np.linspace(-0.5, 0.7, num_impostors)])
    return scores, np.arange(num_same + num_impostors) < num_same


@pytest.mark.parametrize(
    ("num_impostors", "lowest"),
    [(9, None), (10, 1e-1), (99, 1e-1), (100, 1e-2), (999, 1e-2), (1000, 1e-3), (3000, 1e-3),
     (3500, 1e-3), (9999, 1e-3), (10_000, 1e-4), (1_000_000, 1e-6)],
)  # fmt: skip
def test_what_a_number_of_impostors_resolves(num_impostors, lowest):
    curve = roc_curve(*evenly(50, num_impostors))
    points = [curve.at(far) for far in FARS]
    resolved = [point.far for point in points if point.resolved]
    assert resolved == [far for far in FARS if lowest and far >= lowest]
    for point in points:
        assert (num_impostors >= point.needed) == point.resolved
        assert point.needed == round(1 / point.far)
        if point.resolved:  # no ties: the rate is used up
            assert point.accepted == math.floor(point.far * num_impostors + 1e-6)
        entry = json.loads(json.dumps(point.to_dict(), allow_nan=False))
        assert entry["resolved"] == point.resolved and entry["impostors"] == num_impostors
        assert (entry["tar"] is None) == (entry["cosine"] is None) == (not point.resolved)


def test_all_scores_alike():
    issame = np.arange(40) < 10
    curve = roc_curve(np.full(40, 0.25), issame)
    assert (curve.auc, curve.eer.rate) == (0.5, 0.5)
    point = curve.at(0.1)  # 3 impostors would be allowed, but all 30 or none it is
    assert (point.resolved, point.accepted, point.tar) == (True, 0, 0)
    assert point.threshold.cosine > 0.25
    assert curve.at(1.0).tar == 1


def test_impostors_at_the_very_top_leave_no_threshold_below_one():
    scores = np.concatenate([np.ones(5), np.linspace(0, 0.9, 15), np.ones(3)])
    point = roc_curve(scores, np.arange(23) >= 20).at(0.1)  # 2 of 20 allowed, 5 are equal images
    assert (point.accepted, point.tar) == (0, 0)
    assert not (scores >= point.threshold.cosine).any()
    assert point.threshold.angle == 0
    json.dumps(point.to_dict(), allow_nan=False)


def test_separated_and_reversed():
    scores, issame = np.array([0.9, 0.8, 0.3, 0.1]), np.array([1, 1, 0, 0], bool)
    curve = roc_curve(scores, issame)
    assert (curve.auc, curve.eer.rate) == (1, 0)
    assert 0.3 < curve.eer.threshold.cosine <= 0.8
    assert curve.at(0.5).tar == 1 and curve.at(0.5).accepted == 1
    turned = roc_curve(scores, ~issame)
    assert (turned.auc, turned.eer.rate) == (0, 1)


def test_one_pair_of_a_kind():
    scores = np.array([0.5, 0.1, 0.4, 0.9])
    one_impostor = roc_curve(scores, np.array([1, 1, 0, 1], bool))
    assert not any(one_impostor.at(far).resolved for far in FARS)
    assert one_impostor.at(1.0).tar == 1 and one_impostor.auc == 2 / 3
    one_same = roc_curve(scores, np.array([0, 0, 1, 0], bool))
    assert one_same.auc == 1 / 3 and one_same.at(1.0).accepted == 3


def test_what_is_no_set_of_pairs():
    for kind in (True, False):
        with pytest.raises(UserError, match=r"pairs of both kinds, got \d of one person"):
            roc_curve([0.1, 0.2], [kind, kind])
    with pytest.raises(UserError, match="pairs of both kinds, got 0 of one person and 0 of two"):
        roc_curve([], [])
    with pytest.raises(UserError, match="2 of 3 are not"):
        roc_curve([0.1, np.nan, np.inf], [True, False, True])


@given(st.floats(0, 180))
def test_units_of_a_threshold(degrees):
    one, two = (
        np.array([1.0, 0.0]),
        np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]),
    )
    threshold = Threshold(float(one @ two))
    assert threshold.squared_distance == pytest.approx(((one - two) ** 2).sum(), abs=1e-12)
    assert threshold.angle == pytest.approx(degrees, abs=1e-5)
    assert list(threshold.to_dict()) == ["cosine", "squared_distance", "angle_degrees"]


def test_rates_by_name():
    names = ["1e-1", "1e-2", "1e-3", "1e-4", "1e-5", "1e-6"]
    assert [far_name(far) for far in FARS] == names
    assert [float(name) for name in names] == list(FARS)
    assert far_name(0.0025) == "2.5e-3"
