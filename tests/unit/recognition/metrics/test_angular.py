"""MagFace's protocol against a reading of it in plain Python, and by what it has to be."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from verification_pairs import at_angles, clustered, folds_by_loops

from plsc.errors import UserError
from plsc.recognition.metrics.angular import angles, angular_accuracy
from plsc.recognition.metrics.folds import CollapsedEmbeddings, verification_accuracy


def shifted(num_pairs, *, noise, seed):
    """Embeddings around a mean that is not zero."""
    return clustered(num_pairs, noise=noise, seed=seed, dim=5, shift=2.0, lengths=(0.5, 3))


def angle(one, two):
    product = sum(a * b for a, b in zip(one, two, strict=True))
    lengths = math.sqrt(sum(a * a for a in one) * sum(b * b for b in two))
    return math.acos(max(-1.0, min(1.0, product / lengths))) / math.pi


def by_loops(rows, issame, nrof_folds):
    """Accuracy of each fold, pair by pair in Python's own numbers."""
    pairs = [(rows[2 * i].tolist(), rows[2 * i + 1].tolist()) for i in range(len(issame))]

    def distances_of(train):
        known = [row for i in train for row in pairs[i]]
        mean = [math.fsum(column) / len(known) for column in zip(*known, strict=True)]
        return [
            angle(*([value - m for value, m in zip(row, mean, strict=True)] for row in pair))
            for pair in pairs
        ]

    return folds_by_loops(issame, nrof_folds, distances_of)


@hypothesis_settings(max_examples=25)
@given(
    num_pairs=st.integers(12, 40),
    nrof_folds=st.integers(2, 10),
    noise=st.floats(0.2, 2),
    seed=st.integers(0, 2**31),
)
def test_equals_plain_loops(num_pairs, nrof_folds, noise, seed):
    rows, issame = shifted(num_pairs, noise=noise, seed=seed)
    found = angular_accuracy(rows, issame, nrof_folds=nrof_folds)
    folds = by_loops(rows, issame.tolist(), nrof_folds)
    np.testing.assert_allclose(found.folds, folds, atol=1e-12)
    assert found.mean == pytest.approx(np.mean(folds), abs=1e-12)
    assert found.std == pytest.approx(np.std(folds), abs=1e-12)
    assert found.protocol == "magface"


def test_the_mean_is_that_of_the_lengths_as_they_are():
    rows, issame = shifted(60, noise=1.0, seed=3)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found, of_unit = (angular_accuracy(these, issame) for these in (rows, unit))
    assert found.folds != of_unit.folds
    assert found.folds != verification_accuracy(rows, issame).folds
    assert angular_accuracy(16 * rows, issame) == found  # one factor for all changes nothing


def test_the_mean_is_not_learnt_from_the_fold_that_is_tested():
    rows, issame = shifted(40, noise=0.5, seed=4)
    rows[:20] += 100  # the first of four folds
    folds = angular_accuracy(rows, issame, nrof_folds=4).folds
    np.testing.assert_allclose(folds, by_loops(rows, issame.tolist(), 4))
    # Far from the mean of the others, its embeddings all lie in one direction.
    assert folds[0] == issame[:10].mean()


def test_threshold_of_all_pairs():
    around = np.deg2rad(np.repeat(np.arange(10) * 36, 4))  # so that the mean is zero
    rows = at_angles(np.tile([20, 80], 20), around)  # same pairs at 20 degrees, the others at 80
    found = angular_accuracy(rows, np.arange(40) % 2 == 0, nrof_folds=2)
    assert found.threshold == pytest.approx(0.12)  # 20° are 0.111 half turns
    assert found.cosine == pytest.approx(np.cos(np.deg2rad(0.12 * 180)))


def test_angles_at_their_ends():
    rows = np.array([[3.0, 4], [6, 8], [1, 0], [-2, 0], [1, 0], [0, 5], [0, 0], [1, 1]])
    np.testing.assert_allclose(angles(rows), [0, 1, 0.5, 0.5], atol=1e-8)


def test_what_cannot_be_measured_is_said():
    rows, issame = shifted(40, noise=1, seed=5)
    with pytest.raises(CollapsedEmbeddings, match="images look alike"):
        angular_accuracy(7 + 1e-3 * rows, issame)
    with pytest.raises(UserError, match="nrof_folds 10 needs as many pairs, got 8"):
        angular_accuracy(rows[:16], issame[:8])
    rows[3, 0] = np.nan
    with pytest.raises(CollapsedEmbeddings, match="1 of 80 hold NaN or infinity"):
        angular_accuracy(rows, issame)
