"""The kernels of transformers against numpy in float64: values, gradients, results that stay."""

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from plsc.nn.kernels import attention, blas, rows

SEEDS = st.integers(0, 2**31)
# below, at and above the rows that one sum takes; around the widths of vector registers
HEIGHTS, WIDTHS = st.sampled_from([1, 2, 63, 64, 65, 130]), st.sampled_from([1, 2, 15, 33, 256])


def normal(shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(found, expected, size=1):
    """To float32's rounding of sums of `size` terms of about 1."""
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6 * size**0.5)


@given(HEIGHTS, WIDTHS, SEEDS)
def test_bias(n, c, seed):
    x, bias, total = normal((n, c), seed), normal(c, seed + 1), np.full(c, np.nan, np.float32)
    expected = x.astype(np.float64) + bias
    rows.sum_rows(x, total)
    close(total, x.sum(axis=0, dtype=np.float64), n)
    rows.add_bias(x, bias)
    close(x, expected)


@given(HEIGHTS, st.sampled_from([2, 15, 33, 256]), st.sampled_from([0.0, 30.0]), SEEDS)
def test_layer_norm(n, c, offset, seed):
    x = normal((n, c), seed) + np.float32(offset)
    scale, bias, grad = normal(c, seed + 1), normal(c, seed + 2), normal((n, c), seed + 3)
    wide, epsilon = x.astype(np.float64), 1e-2
    deviation = wide - wide.mean(axis=1, keepdims=True)
    factor = 1 / np.sqrt((deviation**2).mean(axis=1, keepdims=True) + epsilon)
    standard, given_back = deviation * factor, grad.astype(np.float64) * scale
    along = (given_back * standard).mean(axis=1, keepdims=True)
    expected_x = factor * (given_back - given_back.mean(axis=1, keepdims=True) - standard * along)

    out, grad_x = np.empty_like(x), np.empty_like(x)
    grad_scale, grad_bias = np.empty_like(scale), np.empty_like(bias)
    statistics = np.empty((n, 2), np.float32)
    rows.normalise(x, scale, bias, out, statistics, epsilon=epsilon)
    rows.normalise_backward(x, scale, statistics, grad, grad_x, grad_scale, grad_bias)
    size = 100 * (1 + offset)  # the factor, up to 10, multiplies what rounding x - mean leaves
    close(out, standard * scale + bias, size)
    close(grad_x, expected_x, size * 100)
    close(grad_scale, (grad * standard).sum(axis=0), size * n)
    close(grad_bias, grad.sum(axis=0, dtype=np.float64), n)


@given(st.integers(1, 200), st.sampled_from([1e-3, 1.0, 30.0, 1e4]), SEEDS)
def test_softmax(size, spread, seed):
    from plsc.nn.kernels.attention_loops import softmax

    line = normal(size, seed) * np.float32(spread)
    scale = np.float32(0.25)  # its products are exact
    expected = scipy.special.softmax(line.astype(np.float64) * 0.25)
    softmax(line[None], scale)
    np.testing.assert_allclose(line, expected, atol=1e-7, rtol=1e-6)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=70))
def test_largest(values):
    from plsc.nn.kernels.attention_loops import largest_of

    line = np.array(values, np.float32)
    assert largest_of(line) == line.max()


def test_softmax_hands_nan_and_infinity_on():
    from plsc.nn.kernels.attention_loops import softmax

    for values in ([0, np.nan, 1], [np.nan] * 3, [0, -np.nan, 1], [0, np.inf, 1], [-np.inf] * 3):
        line = np.array(values * 11, np.float32)
        softmax(line[None], np.float32(1))
        assert np.isnan(line).all()
    line = np.array([0, -np.inf, -1e30, 0] * 11, np.float32)
    softmax(line[None], np.float32(1))
    np.testing.assert_allclose(line, [1 / 22, 0, 0, 1 / 22] * 11, rtol=1e-6)


def test_nan_and_infinity_reach_what_they_reach_in_float64():
    x, ones, bias = normal((3, 20), 1), np.ones(20, np.float32), np.empty(20, np.float32)
    x[0, 3], x[1, 4] = np.nan, np.inf
    out, grad_x, statistics = np.empty_like(x), np.empty_like(x), np.empty((3, 2), np.float32)
    rows.normalise(x, ones, ones, out, statistics, epsilon=1e-5)
    rows.normalise_backward(x, ones, statistics, np.ones_like(x), grad_x, bias.copy(), bias)
    assert np.isnan(out[0]).all() and np.isnan(out[1, 4]) and np.isfinite(out[2]).all()
    assert np.isnan(grad_x[0]).all() and np.isfinite(grad_x[2]).all()
    rows.sum_rows(x, bias)
    assert np.isnan(bias[3]) and np.isinf(bias[4]) and np.isfinite(bias[5:]).all()


def reference(qkv, grad):
    """Output, softmax and gradient of attention in float64."""
    q, k, v = qkv.astype(np.float64).transpose(2, 0, 3, 1, 4)
    scale = qkv.shape[-1] ** -0.5
    weights = scipy.special.softmax(q @ k.swapaxes(-1, -2) * scale, axis=-1)
    given_back = grad.astype(np.float64).transpose(0, 2, 1, 3)
    of_weights = given_back @ v.swapaxes(-1, -2)
    of_scores = weights * (of_weights - (of_weights * weights).sum(axis=-1, keepdims=True)) * scale
    gradients = of_scores @ k, of_scores.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ given_back
    return (
        (weights @ v).transpose(0, 2, 1, 3),
        weights,
        np.stack(gradients).transpose(1, 3, 0, 2, 4),
    )


needs_product = pytest.mark.skipif(not blas.available(), reason="Paddle brings no MKL")


@needs_product
@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 4), st.integers(1, 17), SEEDS)
def test_attention(batch, n, heads, d, seed):
    qkv, grad = normal((batch, n, 3, heads, d), seed), normal((batch, n, heads, d), seed + 1)
    expected, expected_weights, expected_gradient = reference(qkv, grad)
    out, gradient = np.full_like(grad, np.nan), np.full_like(qkv, np.nan)
    weights = np.empty((batch, heads, n, n), np.float32)
    attention.forward(qkv, out, weights)
    close(weights, expected_weights, 4)
    close(out, expected, 4)
    without = np.full_like(out, np.nan)
    attention.forward(qkv, without, None)
    np.testing.assert_array_equal(without, out)
    attention.backward(qkv, weights, grad, gradient)
    close(gradient, expected_gradient, 16 * n)


def all_results():
    x, vector = normal((131, 33), 1), normal(33, 2)
    qkv = normal((3, 19, 3, 5, 7), 3)
    results = [x.copy(), *np.empty((3, 33), "f4"), np.empty((131, 2), "f4")]
    results += [np.empty_like(x), np.empty_like(x)]
    rows.add_bias(results[0], vector)
    rows.sum_rows(x, results[1])
    rows.normalise(x, vector, vector, results[5], results[4], epsilon=1e-5)
    rows.normalise_backward(x, vector, results[4], results[0], results[6], results[2], results[3])
    if blas.available():
        out, weights, gradient = qkv[:, :, 0].copy(), np.empty((3, 5, 19, 19), "f4"), qkv.copy()
        attention.forward(qkv, out, weights)
        attention.backward(qkv, weights, qkv[:, :, 1].copy(), gradient)
        results += [out, weights, gradient]
    return results


@pytest.mark.parametrize("threads", ["2", "3", "7"])
def test_results_do_not_depend_on_threads(monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    expected = all_results()
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    for _ in range(3):
        for found, same in zip(all_results(), expected, strict=True):
            np.testing.assert_array_equal(found, same)


def test_loops_stay_within_their_arrays(monkeypatch):
    expected = all_results()
    for name in ("_add_bias", "_sum_rows", "_normalise", "_normalise_backward"):
        python = getattr(rows, name).__wrapped__  # numpy checks what numba does not
        monkeypatch.setattr(rows, name, python)
    for found, same in zip(all_results(), expected, strict=True):
        np.testing.assert_allclose(found, same, rtol=1e-4, atol=1e-4)


def test_arrays_that_do_not_fit_are_refused():
    x, vector, pairs = np.zeros((4, 5), "f4"), np.zeros(5, "f4"), np.zeros((4, 2), "f4")
    with pytest.raises(AssertionError):
        rows.add_bias(x, vector[:4])
    with pytest.raises(AssertionError):
        rows.sum_rows(x, vector[:4])
    for out, statistics in ((x[:3], pairs), (x, pairs[:3])):
        with pytest.raises(AssertionError):
            rows.normalise(x, vector, vector, out, statistics, epsilon=1e-5)
    qkv, out, weights = (np.zeros(s, "f4") for s in ((2, 5, 3, 4, 6), (2, 5, 4, 6), (2, 4, 5, 5)))
    for bad in ((qkv[:1], out, weights), (qkv, out[:, :4], weights), (qkv, out, weights[:1])):
        with pytest.raises(AssertionError):
            attention.forward(*bad)
    with pytest.raises(AssertionError):
        attention.backward(qkv, weights, out, qkv[:1])
