"""The protocol over folds against an implementation in plain loops, golden and known cases."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from verification_pairs import at_angles, clustered, folds_by_loops

from plsc.errors import UserError
from plsc.recognition.metrics.folds import CollapsedEmbeddings, cosines, verification_accuracy
from plsc.recognition.metrics.validation import val_at_far


def test_each_fold_is_golden(golden):
    figures = json.loads((golden / "metrics.json").read_text())
    with np.load(golden / "verification.npz") as pairs:
        both = pairs["embeddings"] + pairs["embeddings_flipped"]
        folds = verification_accuracy(both, pairs["issame"]).folds
    np.testing.assert_allclose(folds, figures["accuracy_flip_folds"], atol=1e-9, rtol=0)


def by_loops(rows, issame, nrof_folds):
    """The protocol of the published code, pair by pair."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    distances = [float(((rows[2 * i] - rows[2 * i + 1]) ** 2).sum()) for i in range(len(issame))]
    return folds_by_loops(issame, nrof_folds, lambda train: distances)


@settings(max_examples=15, deadline=None)
@given(st.integers(12, 40), st.integers(2, 10), st.floats(0.2, 2), st.integers(0, 2**31), st.data())
def test_equals_plain_loops(num_pairs, nrof_folds, noise, seed, data):
    rows, issame = clustered(num_pairs, noise=noise, seed=seed)
    found = verification_accuracy(rows, issame, nrof_folds=nrof_folds)
    folds = by_loops(rows, issame, nrof_folds)
    np.testing.assert_allclose(found.folds, folds, atol=1e-12)
    assert found.mean == pytest.approx(np.mean(folds), abs=1e-12)
    assert found.std == pytest.approx(np.sqrt(np.mean((folds - np.mean(folds)) ** 2)), abs=1e-12)


def test_the_length_of_an_embedding_does_not_matter():
    rows, issame = clustered(50, noise=1, seed=1)
    scaled = rows * np.random.default_rng(0).uniform(0.01, 100, (100, 1))
    assert verification_accuracy(rows, issame) == verification_accuracy(scaled, issame)


def test_best_threshold_separates_the_pairs():
    rows = at_angles(np.tile([20, 80], 10), np.zeros(20))  # same pairs at 20, the others at 80
    issame = np.arange(20) % 2 == 0
    found = verification_accuracy(rows, issame, nrof_folds=2)
    # 2 - 2 cos 20° = 0.1206: the first threshold above it
    assert found.threshold == pytest.approx(0.13)
    assert found.cosine == pytest.approx(1 - 0.13 / 2)
    assert found.mean == 1


def test_a_pair_at_the_threshold_is_not_the_same():
    axes = np.eye(2)
    rows = np.stack([axes[[0] * 20], axes[np.arange(20) % 2]], axis=1).reshape(40, 2)
    found = verification_accuracy(rows, np.arange(20) % 2 == 0)  # distances of exactly 0 and 2
    assert found.threshold == 0.01 and found.mean == 1


def test_val_equals_the_published_interpolation():
    """insightface's calculate_val by scipy, which refuses repeated rates: keep each rate's last."""
    rows, issame = clustered(300, noise=1.2, seed=4)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    distances = np.square(unit[::2] - unit[1::2]).sum(1)
    vals, fars = [], []
    for test in np.array_split(np.arange(300), 10):
        train = np.setdiff1d(np.arange(300), test)
        curve = {}
        for threshold in np.arange(0, 4, 0.001):
            curve[np.mean(distances[train][~issame[train]] < threshold)] = threshold
        threshold = interp1d(list(curve), list(curve.values()), kind="slinear")(0.01)
        vals.append(np.mean(distances[test][issame[test]] < threshold))
        fars.append(np.mean(distances[test][~issame[test]] < threshold))
    found = val_at_far(rows, issame, far_target=0.01)
    assert found.val == pytest.approx(np.mean(vals), abs=1e-12)
    assert found.std == pytest.approx(np.std(vals), abs=1e-12)
    assert found.far == pytest.approx(np.mean(fars), abs=1e-12)


@pytest.mark.parametrize("num_alike", [0, 2])
def test_val_where_the_curve_never_reaches_the_target(num_alike):
    rows, issame = clustered(60, noise=0.1, seed=5)
    opposite = np.flatnonzero(~issame)[num_alike:]
    rows[1::2][opposite] = -rows[0::2][opposite]  # at distance 4, above each threshold
    found = val_at_far(rows, issame, far_target=0.1)
    assert (found.val, found.std, found.far, found.target) == (0, 0, 0, 0.1)


def test_val_of_folds_with_one_kind_of_pairs():
    rows, issame = clustered(40, noise=0.1, seed=6)
    order = np.argsort(~issame, kind="stable")
    rows = rows.reshape(40, 2, -1)[order].reshape(80, -1)
    found = val_at_far(rows, issame[order], far_target=0.1)
    assert all(np.isfinite([found.val, found.std, found.far]))


def test_pca_on_all_axes_only_moves_the_origin():
    rows, issame = clustered(60, noise=1, seed=7, dim=5)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True) + [1.5, 0, 0, 0, 0]
    found = verification_accuracy(unit, issame, nrof_folds=5, pca=5).folds
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for fold in range(5):
        train = np.delete(unit, np.s_[24 * fold : 24 * (fold + 1)], axis=0)  # 12 pairs each
        centred = verification_accuracy(unit - train.mean(0), issame, nrof_folds=5).folds
        assert found[fold] == centred[fold]
    assert found != verification_accuracy(unit, issame, nrof_folds=5).folds


def test_pca_drops_what_varies_least():
    rows, issame = clustered(60, noise=0.2, seed=8, dim=3)
    small = 0.01 * np.random.default_rng(9).standard_normal((120, 20))
    padded = np.concatenate([rows / np.linalg.norm(rows, axis=1, keepdims=True), small], axis=1)
    found = verification_accuracy(padded, issame, pca=3)
    assert found.mean == pytest.approx(verification_accuracy(rows, issame, pca=3).mean, abs=0.04)
    with pytest.raises(UserError, match="pca 24 is more than the 23 components"):
        verification_accuracy(padded, issame, pca=24)


@pytest.mark.parametrize("pca", [0, 2])
def test_collapsed_embeddings_are_said_to_be(pca):
    rng = np.random.default_rng(10)
    alike = 7 + 1e-3 * rng.standard_normal((80, 16))
    issame = np.arange(40) % 2 == 0
    with pytest.raises(CollapsedEmbeddings, match="collapsed: images look alike"):
        verification_accuracy(alike, issame, pca=pca)
    with pytest.raises(CollapsedEmbeddings, match="images look alike"):
        val_at_far(np.zeros((80, 16)), issame)
    broken = rng.standard_normal((80, 16))
    broken[[3, 9], 2] = np.nan, np.inf
    with pytest.raises(CollapsedEmbeddings, match="2 of 80 hold NaN or infinity"):
        verification_accuracy(broken, issame)


def test_a_weak_network_has_not_collapsed():
    """Measured on untrained networks: distances of 0.05 to 0.7."""
    rng = np.random.default_rng(11)
    rows = 1 + 0.2 * rng.standard_normal((80, 64))
    measured = verification_accuracy(rows, np.arange(40) % 2 == 0)
    assert 0.2 < measured.mean < 0.8


def test_too_few_pairs_or_one_kind_only():
    rows, issame = clustered(8, noise=1, seed=12)
    with pytest.raises(UserError, match="nrof_folds 10 needs as many pairs, got 8"):
        verification_accuracy(rows, issame)
    with pytest.raises(UserError, match="pairs of both kinds, got 8 of one person and 0 of two"):
        verification_accuracy(rows, np.ones(8, bool), nrof_folds=4)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(2, 5), st.integers(0, 2**31))
def test_cosines_equal_the_angle_between(num_pairs, dim, seed):
    rows, _ = clustered(num_pairs, noise=1, seed=seed, dim=dim)
    expected = [
        sum(a * b for a, b in zip(one, two, strict=True))
        / (sum(a * a for a in one) * sum(b * b for b in two)) ** 0.5
        for one, two in zip(rows[0::2].tolist(), rows[1::2].tolist(), strict=True)
    ]
    np.testing.assert_allclose(cosines(rows), expected, atol=1e-12)


def test_cosines_of_equal_opposite_and_empty_rows():
    rng = np.random.default_rng(14)
    images = rng.standard_normal((50, 512))
    equal = np.repeat(images, 2, axis=0)
    assert set(cosines(equal)) == {1.0}  # exactly, so that they are ties
    opposite = equal * np.where(np.arange(100) % 2, -1, 1)[:, None]
    assert cosines(opposite).min() >= -1 and cosines(opposite).max() < -1 + 1e-12
    opposite[1::2] = 0
    np.testing.assert_allclose(cosines(opposite), 0, atol=1e-12)
    assert set(cosines(np.zeros((4, 3)))) == {0.0}
