"""IJB scores and table against golden figures and implementations in plain loops."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plsc.recognition.metrics.ijb import FPR_TARGETS, pair_scores, tpr_at_fpr
from plsc.recognition.metrics.roc import roc_curve
from plsc.recognition.metrics.templates import Templates, pool_templates


@pytest.fixture(scope="module")
def faces(request):
    with np.load(request.config.rootpath / "tests" / "golden" / "ijb.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def golden_templates(faces):
    return pool_templates(
        np.stack([faces["features"], faces["features_flipped"]], axis=1),
        faces["templates"],
        faces["medias"],
        detector_scores=faces["detector_scores"],
    )


def plain_table(scores, same, targets):
    """TPR at FPR after scikit-learn's curve, read from behind; all in Python's own numbers."""
    pairs = list(zip(scores.tolist(), same.tolist(), strict=True))
    thresholds = sorted({score for score, _ in pairs}, reverse=True)
    fps = [sum(score >= t and not label for score, label in pairs) for t in thresholds]
    tps = [sum(score >= t and label for score, label in pairs) for t in thresholds]

    def is_corner(i):
        if i in (0, len(thresholds) - 1):
            return True
        bends = (line[i + 1] - line[i] != line[i] - line[i - 1] for line in (fps, tps))
        return any(bends)

    corners = [i for i in range(len(thresholds)) if is_corner(i)]
    fpr = np.array([0, *(fps[i] for i in corners)]) / fps[-1]
    tpr = np.array([0, *(tps[i] for i in corners)]) / tps[-1]
    fpr, tpr = np.flipud(fpr), np.flipud(tpr)
    return [tpr[min(zip(abs(fpr - x), range(len(fpr)), strict=True))[1]] for x in targets]


def test_scores_are_golden(faces, golden_templates):
    scores = pair_scores(golden_templates, faces["pair_t1"], faces["pair_t2"])
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, faces["scores"], atol=1e-5, rtol=0)
    assert abs(scores - faces["scores"]).max() < 2e-6  # what rounding accounts for


def test_table_is_golden(faces, golden_templates, golden):
    scores = pair_scores(golden_templates, faces["pair_t1"], faces["pair_t2"])
    points = tpr_at_fpr(roc_curve(scores, faces["pair_label"]))
    expected = json.loads((golden / "metrics.json").read_text())["ijb_tpr_percent_at_fpr"]
    assert {str(point.target): round(point.tpr * 100, 4) for point in points} == expected
    assert [str(point.target) for point in points] == list(expected)
    for point in points:  # the threshold gives these very rates
        accepted, label = scores >= point.threshold.cosine, faces["pair_label"] > 0
        assert accepted[label].mean() == point.tpr
        assert accepted[~label].mean() == point.fpr


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_templates=st.sampled_from([2, 40, 256, 700]),
    num_left=st.sampled_from([1, 30, 700]),
    num_pairs=st.sampled_from([1, 50, 3000, 40000]),
)
def test_scores_agree_with_plain_products(seed, num_templates, num_left, num_pairs):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(num_templates, 8)).astype(np.float32)
    ids = np.sort(random.choice(10**6, num_templates, replace=False)) - 1000
    templates = Templates(ids, vectors)
    first = random.integers(0, min(num_left, num_templates), num_pairs)
    second = random.integers(0, num_templates, num_pairs)
    scores = pair_scores(templates, ids[first].astype(np.int32), ids[second])
    exact = (vectors[first].astype(np.float64) * vectors[second]).sum(axis=1)
    np.testing.assert_allclose(scores, exact, atol=1e-4)


@pytest.mark.parametrize("cost", [0, 1 << 40], ids=["one by one", "matrix product"])
def test_both_ways_of_scoring_are_equal(monkeypatch, cost):
    random = np.random.default_rng(4)
    templates = Templates(np.arange(600), random.normal(size=(600, 8)).astype(np.float32))
    first, second = random.integers(0, 600, (2, 5000))
    monkeypatch.setattr("plsc.recognition.metrics.ijb.GATHER_COST", cost)
    exact = (templates.vectors[first].astype(np.float64) * templates.vectors[second]).sum(axis=1)
    np.testing.assert_allclose(pair_scores(templates, first, second), exact, atol=1e-4)


@settings(deadline=None, max_examples=300)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=60).filter(
        lambda pairs: {label for _, label in pairs} == {True, False}
    ),
    targets=st.lists(st.sampled_from([*FPR_TARGETS, 0.0, 0.25, 0.5, 1.0]), min_size=1),
)
def test_the_table_follows_the_literal_rule(pairs, targets):
    scores = np.array([score for score, _ in pairs], np.float32) / 4
    same = np.array([label for _, label in pairs])
    found = [point.tpr for point in tpr_at_fpr(roc_curve(scores, same), targets)]
    assert found == plain_table(scores, same, targets)


def test_dropped_thresholds_decide_what_is_near():
    # Of four impostors one by one, scikit-learn keeps the last, before a same pair comes; what is
    # nearest to 3/4 is therefore 4/4, with that pair.
    same = np.array([True, False, False, False, False, True])
    scores = np.array([6, 5, 4, 3, 2, 1], np.float32)
    (point,) = tpr_at_fpr(roc_curve(scores, same), [0.75])
    assert (point.fpr, point.tpr) == (1.0, 1.0)
    (point,) = tpr_at_fpr(roc_curve(scores, same), [0.25])
    assert (point.fpr, point.tpr) == (0.0, 0.5)
