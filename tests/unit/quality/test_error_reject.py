"""Error-versus-reject curves against MagFace's figures, the protocol read naively, and by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plsc.errors import UserError
from plsc.quality.error_reject import (
    decades,
    error_reject_curve,
    impostors_needed,
    pair_quality,
    threshold_at,
)
from plsc.quality.reject_curve import REJECTS, RejectCurve, RejectPoint
from plsc.recognition.metrics.angular import angles


def naive_curve(distances, issame, quality, *, steps, fixed):
    """[(FNMR, threshold)] as the protocol is worded, one pair at a time."""
    order = sorted(range(len(quality)), key=lambda pair: (quality[pair], pair))
    kept_threshold, found = None, []
    for share in np.arange(0, 0.98, 0.05):
        left = order[int(share * len(order)) :]
        positives = [distances[pair] for pair in left if issame[pair]]
        negatives = sorted(distances[pair] for pair in left if not issame[pair])
        place, rates = len(negatives) - 1, {}
        rate = 0
        while place >= 0:
            rates[rate] = negatives[place]
            if place == 0:
                break
            place, rate = int(place / 10), rate + 1
        if kept_threshold is None:
            kept_threshold = rates.get(steps)
        threshold = kept_threshold if fixed else rates.get(steps)
        if threshold is None or not positives:
            break
        refused = sum(distance >= threshold for distance in positives)
        found.append((refused / len(positives), threshold))
    return found


@st.composite
def pair_sets(draw):
    """(distances, issame, quality) with both kinds; equal distances and qualities are frequent."""
    total = draw(st.integers(5, 260))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    issame = generator.random(total) < draw(st.sampled_from([0.03, 0.2, 0.5, 0.9]))
    issame[:2] = True, False
    generator.shuffle(issame)
    levels = draw(st.sampled_from([3, 20, 10**6]))
    distances = generator.integers(0, levels, total) / levels
    quality = generator.integers(0, draw(st.sampled_from([3, 10**6])), total).astype(float)
    quality[:2] = 0, 5
    return distances, issame, quality


@settings(max_examples=150)
@given(pair_sets(), st.sampled_from([1, 2, 3]), st.booleans())
def test_as_the_protocol_is_worded(pairs, steps, fixed):
    curve = error_reject_curve(*pairs, fmr=10.0**-steps, fixed=fixed)
    expected = naive_curve(*(part.tolist() for part in pairs), steps=steps, fixed=fixed)
    assert [(point.fnmr, point.threshold) for point in curve.points] == expected
    assert (curve.end is None) == (len(expected) == len(REJECTS))
    if curve.end:
        assert curve.end.reject == REJECTS[len(expected)] and curve.end.remaining < curve.end.needed
    for point, reject in zip(curve.points, REJECTS, strict=False):
        assert point.reject == pytest.approx(reject, abs=1e-9)
        assert point.rejected + point.genuine + point.impostors == len(pairs[0])


def golden_pairs(golden):
    with np.load(golden / "error_versus_reject.npz") as arrays:
        embeddings, issame = arrays["embeddings_x100"] / 100, arrays["issame"]
    return angles(embeddings), issame, pair_quality(np.linalg.norm(embeddings, axis=1))


@pytest.mark.parametrize(("name", "fixed"), [("evr", False), ("evr_fixed_threshold", True)])
def test_golden(golden, name, fixed):
    figures = json.loads((golden / "magface.json").read_text())
    curve = error_reject_curve(*golden_pairs(golden), fmr=1e-3, fixed=fixed)
    assert curve.end is None and curve.fixed is fixed
    for point, expected in zip(curve.points, figures[name], strict=True):
        threshold = expected.get("threshold", figures["evr_fixed_threshold_value"])
        assert point.reject == pytest.approx(expected["reject"], abs=1e-9)
        assert point.fnmr == pytest.approx(expected["fnmr"], abs=1e-9)
        assert point.threshold == pytest.approx(threshold, abs=1e-6)
    assert all(point.resolved for point in curve.points) == fixed


def test_every_rate_has_its_own_step_of_the_walk(golden):
    distances, issame, quality = golden_pairs(golden)
    impostors = np.sort(distances[~issame])
    places = {1e-1: 1, 1e-2: 2, 1e-3: 3, 1e-4: 4}
    for fmr, divisions in places.items():
        curve = error_reject_curve(distances, issame, quality, fmr=fmr)
        place = (len(impostors) - 1) // 10**divisions
        assert curve.points[0].threshold == impostors[place]
        assert curve.points[0].false_matches == place


@pytest.mark.parametrize(
    ("count", "place"),
    [(3000, 2), (3500, 3), (1001, 1), (1000, 0), (150, 0), (101, 0), (100, None), (0, None)],
)
def test_worked_places_at_fmr_1e_3(count, place):
    assert threshold_at(np.arange(count, dtype=float), 3) == place
    assert (count < impostors_needed(1e-3)) == (place is None)


def test_needed_impostors_are_the_fewest():
    for fmr, needed in ((1e-1, 2), (1e-2, 11), (1e-3, 101), (1e-4, 1001)):
        assert impostors_needed(fmr) == needed
        assert threshold_at(np.zeros(needed), decades(fmr)) == 0
        assert threshold_at(np.zeros(needed - 1), decades(fmr)) is None


def even_pairs(genuine, impostors):
    """Pairs of both kinds spread evenly over the qualities."""
    total = genuine + impostors
    issame = np.floor(np.arange(1, total + 1) * genuine / total) > np.floor(
        np.arange(total) * genuine / total
    )
    return np.linspace(0, 1, total), issame, np.arange(total)


@pytest.mark.parametrize(
    ("impostors", "num_points"), [(1, 0), (100, 0), (101, 1), (1000, 18), (3000, 20)]
)
def test_ends_where_impostors_are_too_few(impostors, num_points):
    curve = error_reject_curve(*even_pairs(impostors, impostors), fmr=1e-3)
    assert len(curve.points) == num_points
    assert [point.resolved for point in curve.points] == [
        point.impostors >= 1000 for point in curve.points
    ]
    if num_points == 20:
        assert curve.end is None and curve.to_dict()["ended"] is None
        return
    left = impostors - round(impostors * REJECTS[num_points])
    at = f" left at {5 * num_points} % rejected" if num_points else ""
    of_them = "impostor pair" if left == 1 else "impostor pairs"
    assert curve.end.reason == f"{left} {of_them}{at}, FMR 1e-3 needs 101"


def test_a_kept_threshold_needs_its_impostors_once():
    curve = error_reject_curve(*even_pairs(101, 101), fmr=1e-3, fixed=True)
    assert curve.end is None and {point.threshold for point in curve.points} == {
        curve.points[0].threshold
    }
    assert not any(point.resolved for point in curve.points)
    assert error_reject_curve(*even_pairs(100, 100), fmr=1e-3, fixed=True).points == ()


def test_ends_where_no_genuine_pair_is_left():
    issame = np.array([True] * 50 + [False] * 50)
    distances = np.linspace(0, 1, 100)
    curve = error_reject_curve(distances, issame, np.arange(100), fmr=1e-1)
    assert len(curve.points) == 10 and curve.points[-1].genuine == 5
    assert curve.end.reason == "no genuine pair is left at 50 % rejected"


def test_equal_qualities_go_in_the_order_of_the_set():
    issame = np.array([True, False] * 20)
    distances = np.where(issame, 0.9, 0.5)
    distances[0] = 0.1
    quality = np.zeros(40)
    quality[-1] = 1
    curve = error_reject_curve(distances, issame, quality, fmr=1e-1)
    assert curve.points[0].fnmr == 19 / 20 and curve.points[1].fnmr == 1
    quality[0], issame[-1] = 1, True  # the good pair is now kept to the end
    assert error_reject_curve(distances, issame, quality, fmr=1e-1).points[1].fnmr < 1


def curve_of(*fnmrs):
    points = [
        RejectPoint(float(reject), 0, 100, 100, 0.3, round(100 * fnmr), 0, True)
        for reject, fnmr in zip(REJECTS, fnmrs, strict=False)
    ]
    return RejectCurve(1e-2, False, tuple(points), None)


def test_areas_by_hand():
    curve = curve_of(0.4, 0.2, 0.2, 0.0)  # at 0, 5, 10, 15 % rejected
    whole = curve.area()
    assert whole.mean_fnmr == pytest.approx((0.3 + 0.2 + 0.1) / 3)
    assert (whole.start, whole.stop) == (0, pytest.approx(0.15))
    assert curve.area(0.2) == whole  # it ended before
    assert curve.area(0.05).mean_fnmr == pytest.approx(0.3)
    half = curve.area(0.025)  # half way along a straight line
    assert half.mean_fnmr == pytest.approx(0.35) and half.stop == 0.025
    assert curve.area(0.125).mean_fnmr == pytest.approx((0.3 * 2 + 0.2 * 2 + 0.15) / 5)
    assert curve_of(0.4).area() is None and curve_of().area() is None
    assert curve_of(*[0.25] * 20).area().mean_fnmr == pytest.approx(0.25)
    written = curve.to_dict(partial=0.05)
    assert written["partial_area"]["mean_fnmr"] == pytest.approx(0.3)
    assert written["area"]["stop"] == pytest.approx(0.15)


def test_the_point_at_a_share():
    curve = curve_of(0.4, 0.2, 0.1)
    points = [curve.at(share) for share in (0.0, 0.05, 0.1, 0.15)]
    assert points == [*curve.points, None]
    assert curve_of().at(0.0) is None


def test_perfect_rejection_drops_the_errors_first():
    issame = np.array([True] * 100 + [False] * 100)
    distances = np.concatenate(
        [np.linspace(0, 0.4, 70), np.full(30, 0.9), np.linspace(0.5, 1, 100)]
    )
    quality = np.random.default_rng(0).random(200)
    curve = error_reject_curve(distances, issame, quality, fmr=1e-2, fixed=True)
    assert curve.points[0].false_non_matches == 30
    np.testing.assert_allclose(curve.perfect()[:5], [0.3, 20 / 90, 10 / 80, 0, 0])
    assert (curve.perfect() <= [point.fnmr for point in curve.points]).all()
    best = np.where(issame & (distances > 0.8), 0.0, quality + 1)
    found = error_reject_curve(distances, issame, best, fmr=1e-2, fixed=True)
    np.testing.assert_allclose([point.fnmr for point in found.points], curve.perfect())


def test_a_pair_is_as_good_as_the_worse_of_its_images():
    assert pair_quality([3, 1, 2, 5]).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("issame", "quality", "fmr", "message"),
    [
        ([True] * 4, [1, 2, 3, 4], 1e-2, "needs pairs of both kinds, got 4 of one person and 0"),
        ([], [], 1e-2, "got 0 of one person and 0 of two"),
        ([True, False] * 2, [7.5] * 4, 1e-2, "quality is 7.5 for each of 4: equal values"),
        ([True, False] * 2, [1, 1 + 1e-7] * 2, 1e-2, "equal values"),
        ([True, False] * 2, [0.0] * 4, 1e-2, "equal values"),
        ([True, False] * 2, [1, 2, math.nan, 3], 1e-2, "1 of 4 values are not"),
        ([True, False] * 2, [1, 2, 3, 4], 5e-3, "a power of ten from 1e-1 to 1e-9, got 0.005"),
        ([True, False] * 2, [1, 2, 3, 4], 1.0, "got 1"),
        ([True, False] * 2, [1, 2, 3, 4], -0.1, "got -0.1"),
        ([True, False] * 2, [1, 2, 3, 4], math.nan, "got nan"),
    ],
)
def test_mistakes(issame, quality, fmr, message):
    with pytest.raises(UserError, match=message):
        error_reject_curve(np.linspace(0, 1, len(issame)), issame, quality, fmr=fmr)
