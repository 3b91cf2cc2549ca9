"""The factored gradient of the rows against the whole one, in float64."""

import numpy as np
import paddle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plsc.recognition.heads.gradient import RowGradient

ROWS, DIM = 23, 5


def cosine_parts(random, weight, samples):
    """(left, right, pull) as a loss of cosines with `weight` makes them."""
    right = random.normal(0, 1, (samples, weight.shape[1]))
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    norms = np.linalg.norm(weight, axis=1)
    cosines = right @ weight.T / norms
    of_cosines = random.normal(0, 1, cosines.shape)
    return of_cosines / norms, right, (of_cosines * cosines).sum(axis=0) / norms**2


def made(parts, weight):
    tensor = paddle.to_tensor(weight)
    gradient = RowGradient(tensor, paddle.to_tensor(np.linalg.norm(weight, axis=1)))
    for part in parts:
        gradient.add(*(paddle.to_tensor(value) for value in part))
    return gradient


@given(
    samples=st.lists(st.integers(1, 2 * DIM), min_size=1, max_size=4),
    piece=st.integers(1, ROWS + 1),
    seed=st.integers(0, 2**32),
)
def test_factors_and_product_are_one_gradient(samples, piece, seed):
    """From less to more samples than dimensions, in one part or several."""
    random = np.random.default_rng(seed)
    weight = random.normal(0, 0.2, (ROWS, DIM))
    parts = [cosine_parts(random, weight, count) for count in samples]
    expected = sum(left.T @ right - pull[:, None] * weight for left, right, pull in parts)
    gradient = made(parts, weight)
    np.testing.assert_allclose(gradient.whole().numpy(), expected, rtol=1e-9, atol=1e-9)
    assert gradient.squared_norm().item() == pytest.approx((expected**2).sum(), rel=1e-8)
    pieces = [
        gradient.rows(start, min(start + piece, ROWS)).numpy() for start in range(0, ROWS, piece)
    ]
    np.testing.assert_allclose(np.concatenate(pieces), expected, rtol=1e-9, atol=1e-9)


def test_squared_norm_in_float32_is_accurate():
    """Many rows and few samples, as in training; the reference in float64."""
    random = np.random.default_rng(0)
    weight = random.normal(0, 0.01, (4000, 64))
    left, right, pull = cosine_parts(random, weight, 16)
    expected = ((left.T @ right - pull[:, None] * weight) ** 2).sum()
    narrow = [value.astype("float32") for value in (left, right, pull)]
    found = made([narrow], weight.astype("float32")).squared_norm().item()
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("samples", [2, 2 * DIM])
def test_what_is_not_finite_shows_in_the_norm(samples):
    random = np.random.default_rng(1)
    weight = random.normal(0, 0.2, (ROWS, DIM))
    for bad in (np.nan, np.inf):
        left, right, pull = cosine_parts(random, weight, samples)
        left[0, 3] = bad
        assert not np.isfinite(made([(left, right, pull)], weight).squared_norm().item())


def test_a_gradient_along_the_weight_has_no_negative_square():
    weight = np.full((1, 3), 0.2, "float32")
    unit = weight / np.linalg.norm(weight)
    pull = np.array([1 / np.linalg.norm(weight)], "float32")
    square = made([(np.ones((1, 1), "float32"), unit, pull * 1.0001)], weight).squared_norm()
    assert square.item() >= 0


def test_no_part_is_no_gradient():
    gradient = made([], np.ones((ROWS, DIM)))
    assert not gradient.whole().numpy().any()
    assert gradient.squared_norm().item() == 0


def test_a_gradient_may_be_given():
    random = np.random.default_rng(2)
    weight, given_one = random.normal(0, 1, (2, ROWS, DIM))
    gradient = made([cosine_parts(random, weight, 2)], weight)
    gradient.assign(paddle.to_tensor(given_one))
    np.testing.assert_array_equal(gradient.whole().numpy(), given_one)
    assert gradient.squared_norm().item() == pytest.approx((given_one**2).sum())
