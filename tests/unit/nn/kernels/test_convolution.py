"""The tiled convolution against its definition in float64, for whatever tiles and shapes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from plsc.nn.kernels import blas, convolution

if not blas.available():
    pytest.skip("this build of paddle has no MKL", allow_module_level=True)


def normal(shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def windows_of(x, kernel, stride, padding):
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    return windows[:, :, ::stride, ::stride]


def guarded(shape):
    """An array within one of NaN, and a check that nothing was written beside it."""
    whole = np.full(int(np.prod(shape)) + 2000, np.nan, np.float32)
    inner = whole[1000:-1000].reshape(shape)
    return inner, lambda: np.isnan(whole[:1000]).all() and np.isnan(whole[-1000:]).all()


@settings(max_examples=80)
@given(st.data(), st.integers(1, 5), st.sampled_from([1, 2, 3, 4, 7]), st.integers(1, 3))
def test_convolution(data, batch, kernel, stride):
    padding = data.draw(st.integers(0, kernel + 1))
    least = max(1, kernel - 2 * padding)
    sides = [data.draw(st.integers(least, kernel + 12)) for _ in range(2)]
    channels, filters = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    x, weights = (
        normal((batch, channels, *sides), 1),
        normal((filters, channels, kernel, kernel), 2),
    )
    windows = windows_of(x, kernel, stride, padding)
    expected = np.einsum("bcyxij,dcij->bdyx", windows, weights.astype(np.float64))
    grad = normal(expected.shape, 3)
    geometry = {"stride": stride, "padding": padding}
    with pytest.MonkeyPatch.context() as patch:
        # tiles that end within images, and that hold several of them
        patch.setattr(convolution, "LEAST_PIXELS", 1)
        patch.setattr(convolution, "TILE", data.draw(st.integers(1, 20000)))
        patch.setenv("OMP_NUM_THREADS", data.draw(st.sampled_from("123")))
        out, out_kept = guarded(expected.shape)
        convolution.forward(x, weights, out, **geometry)
        grad_x, grad_kept = guarded(x.shape)
        grad_weights, weights_kept = guarded(weights.shape)
        convolution.backward(x, weights, grad, grad_x, grad_weights, **geometry)
        again = np.empty_like(weights)
        convolution.backward(x, weights, grad, None, again, **geometry)
    assert out_kept() and grad_kept() and weights_kept()
    terms = channels * kernel**2
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6 * terms**0.5 * 4)
    exact = np.einsum("bcyxij,bdyx->dcij", windows, grad.astype(np.float64))
    terms = grad.size // filters
    np.testing.assert_allclose(grad_weights, exact, rtol=1e-5, atol=1e-6 * terms**0.5 * 4)
    np.testing.assert_array_equal(again, grad_weights)
    # <grad, conv(d)> = <backward(grad), d>: the definition of the adjoint, for two d
    random = normal(x.shape, 4)
    one = np.zeros_like(x)
    one[tuple(data.draw(st.integers(0, side - 1)) for side in x.shape)] = 1
    for direction in (random, one):
        moved = np.einsum(
            "bcyxij,dcij->bdyx", windows_of(direction, kernel, stride, padding), weights
        )
        found, wanted = (grad_x.astype(np.float64) * direction).sum(), (moved * grad).sum()
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-4)


def test_arrays_that_do_not_fit_are_refused():
    x, weights = normal((2, 3, 5, 5), 1), normal((4, 3, 3, 3), 2)
    for shape in ((2, 4, 5, 5), (2, 3, 3, 3), (1, 4, 3, 3)):
        with pytest.raises(AssertionError):
            convolution.forward(x, weights, np.zeros(shape, "f4"), stride=1, padding=0)
    with pytest.raises(AssertionError):
        convolution.backward(
            x, weights, np.zeros((2, 4, 3, 3), "f4"), x[:1], weights.copy(), stride=1, padding=0
        )
