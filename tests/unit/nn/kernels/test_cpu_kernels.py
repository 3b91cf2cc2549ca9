"""The kernels against numpy in float64: values, gradients, and results that never vary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from plsc.nn.kernels import compiled, depthwise, prelu

BATCHES, CHANNELS = st.integers(1, 4), st.integers(1, 9)


def normal(shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(found, expected, size=1):
    """To float32's rounding of sums of `size` terms of about 1."""
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * size**0.5 + 1e-7)


@given(BATCHES, CHANNELS, st.integers(1, 700), st.integers(0, 2**31))
def test_prelu(batch, channels, size, seed):
    x, grad = normal((batch, channels, size), seed), normal((batch, channels, size), seed + 1)
    x.flat[:: x.size // 3 + 1] = 0
    slopes = normal(channels, seed + 2)
    wide, wide_slopes = x.astype(np.float64), slopes.astype(np.float64)[:, None]
    expected = np.where(x > 0, wide, wide * wide_slopes)
    expected_x = np.where(x > 0, grad, grad * wide_slopes)
    expected_slopes = np.where(x > 0, 0, grad * wide).sum(axis=(0, 2))

    out, grad_x, grad_slopes = np.empty_like(x), np.empty_like(x), np.empty_like(slopes)
    prelu.forward(x, slopes, out)
    prelu.backward(x, slopes, grad, grad_x, grad_slopes)
    close(out, expected)
    close(grad_x, expected_x)
    close(grad_slopes, expected_slopes, batch * size)

    rows, grad_rows = (
        np.ascontiguousarray(a.swapaxes(1, 2)).reshape(-1, channels) for a in (x, grad)
    )
    out, grad_x, again = np.empty_like(rows), np.empty_like(rows), np.empty_like(slopes)
    prelu.forward_rows(rows, slopes, out)
    prelu.backward_rows(rows, slopes, grad_rows, grad_x, again)
    shape = (batch, size, channels)
    close(out.reshape(shape).swapaxes(1, 2), expected)
    close(grad_x.reshape(shape).swapaxes(1, 2), expected_x)
    close(again, expected_slopes, batch * size)


def test_prelu_hands_nan_and_infinity_on():
    x = np.array([[[np.nan, -np.inf, np.inf]]], np.float32)
    slopes, out, grad_slopes = np.full(1, 0.5, np.float32), np.empty_like(x), np.empty(1, "f4")
    prelu.forward(x, slopes, out)
    np.testing.assert_array_equal(out, [[[np.nan, -np.inf, np.inf]]])
    prelu.backward(x, slopes, np.ones_like(x), out, grad_slopes)
    assert np.isnan(grad_slopes[0])


def correlated(x, weights, stride, padding):
    """Depthwise convolution from its definition, in float64, and what multiplied each weight."""
    weights = weights[:, 0]
    k = weights.shape[1]
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]
    return np.einsum("bcyxij,cij->bcyx", windows, weights.astype(np.float64)), windows


@settings(max_examples=60)
@given(st.data(), BATCHES, CHANNELS, st.sampled_from([1, 2, 3, 5, 7]), st.integers(1, 3))
def test_depthwise(data, batch, channels, kernel, stride):
    padding = data.draw(st.integers(0, kernel - 1))
    sides = [data.draw(st.integers(max(1, kernel - 2 * padding), kernel + 20)) for _ in range(2)]
    x = normal((batch, channels, *sides), 1)
    weights = normal((channels, 1, kernel, kernel), 2)
    expected, windows = correlated(x, weights, stride, padding)
    out = np.empty_like(expected, dtype=np.float32)
    depthwise.forward(x, weights, out, stride=stride, padding=padding)
    close(out, expected, kernel**2)

    grad = normal(out.shape, 3)
    grad_weights = np.empty_like(weights)
    grad_x = np.empty_like(x)
    depthwise.backward(x, weights, grad, grad_x, grad_weights, stride=stride, padding=padding)
    exact = np.einsum("bcyxij,bcyx->cij", windows, grad.astype(np.float64))
    close(grad_weights[:, 0], exact, grad.size // channels)
    again = np.empty_like(weights)
    depthwise.backward(x, weights, grad, None, again, stride=stride, padding=padding)
    np.testing.assert_array_equal(again, grad_weights)

    # <grad, conv(d)> = <backward(grad), d> for any d: the definition of the adjoint
    place = tuple(data.draw(st.integers(0, side - 1)) for side in x.shape)
    one = np.zeros_like(x)
    one[place] = 1
    close(grad_x[place], (correlated(one, weights, stride, padding)[0] * grad).sum(), kernel**2)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_loops_stay_within_their_arrays(monkeypatch, kernel, stride):
    compiled_ones = all_results()
    for module, name in (
        (depthwise, "_correlate"), (depthwise, "_weights"), (prelu, "_forward"),
        (prelu, "_backward"), (prelu, "_forward_rows"), (prelu, "_backward_rows"),
    ):  # fmt: skip
        python = getattr(module, name).__wrapped__  # numpy checks what numba does not
        monkeypatch.setattr(module, name, python)
    for padding in {0, kernel // 2, kernel - 1}:
        x, weights = normal((2, 2, kernel + 3, kernel), 1), normal((2, 1, kernel, kernel), 2)
        expected, _ = correlated(x, weights, stride, padding)
        out = np.empty_like(expected, dtype=np.float32)
        depthwise.forward(x, weights, out, stride=stride, padding=padding)
        close(out, expected, kernel**2)
        gradients = np.empty_like(x), np.empty_like(weights)
        depthwise.backward(x, weights, out, *gradients, stride=stride, padding=padding)
    for found, same in zip(all_results(), compiled_ones, strict=True):
        np.testing.assert_allclose(found, same, rtol=1e-4, atol=1e-4)


def test_depthwise_refuses_arrays_that_do_not_fit():
    x, weights = np.zeros((1, 2, 5, 5), "f4"), np.zeros((2, 1, 3, 3), "f4")
    for out in ((1, 2, 5, 5), (1, 1, 3, 3), (2, 2, 3, 3)):
        with pytest.raises(AssertionError):
            depthwise.forward(x, weights, np.zeros(out, "f4"), stride=1, padding=0)
    out = np.zeros((1, 2, 3, 3), "f4")
    with pytest.raises(AssertionError):
        depthwise.forward(x, weights[:1], out, stride=1, padding=0)
    for bad in ((x[..., :4], weights), (x, weights[..., :2])):
        with pytest.raises(AssertionError):
            depthwise.backward(x, weights, out, *bad, stride=1, padding=0)


@pytest.mark.parametrize("threads", ["1", "2", "3", "7", "2,1", "nonsense"])
def test_results_do_not_depend_on_threads(monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    expected = all_results()
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    for _ in range(3):
        for found, same in zip(all_results(), expected, strict=True):
            np.testing.assert_array_equal(found, same)


def all_results():
    x, grad, slopes = normal((3, 5, 13, 12), 1), normal((3, 5, 13, 12), 2), normal(5, 3)
    flat, weights = (3, 5, -1), normal((5, 1, 3, 3), 4)
    results = [np.empty_like(x) for _ in range(3)] + [
        np.empty_like(weights),
        *np.empty((2, 5), "f4"),
    ]
    prelu.forward(x.reshape(flat), slopes, results[0].reshape(flat))
    prelu.backward(
        x.reshape(flat), slopes, grad.reshape(flat), results[1].reshape(flat), results[4]
    )
    rows = results[2].reshape(-1, 5)
    prelu.backward_rows(x.reshape(-1, 5), slopes, grad.reshape(-1, 5), rows, results[5])
    results += [np.empty_like(x) for _ in range(3)]
    depthwise.forward(x, weights, results[-3], stride=1, padding=1)
    depthwise.backward(x, weights, grad, results[-2], results[3], stride=1, padding=1)
    prelu.forward_rows(x.reshape(-1, 5), slopes, results[-1].reshape(-1, 5))
    return results


def test_a_forked_process_starts_threads_of_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    expected = all_results()
    context = __import__("multiprocessing").get_context("fork")
    with context.Pool(1) as pool:
        found = pool.apply_async(all_results).get(timeout=60)
    for one, same in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, same)


def test_an_error_in_any_part_is_raised(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")

    def fails(start, stop, bad):
        if start <= bad < stop:
            raise ArithmeticError(f"item {bad}")

    for bad in range(6):
        with pytest.raises(ArithmeticError, match=f"item {bad}"):
            compiled.share(fails, 6, bad)
