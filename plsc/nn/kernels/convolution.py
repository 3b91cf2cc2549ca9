"""Convolution and its gradients as matrix products of tiles that stay in a core's cache.

A tile is some rows of the output, of one image or several: the inputs of its pixels become the
columns of a matrix [c * k * k, pixels], which the weights multiply. Each thread takes images of
its own and calls a product of one thread. Paddle unfolds whole images, in one thread, into memory.
"""

import numpy as np
from numpy.typing import NDArray

from plsc.nn.kernels import blas
from plsc.nn.kernels.compiled import share, threads

Array = NDArray[np.float32]
TILE, LEAST_PIXELS = 2**18, 192  # floats of a tile's columns; pixels that make a product efficient


def forward(x: Array, weights: Array, out: Array, *, stride: int, padding: int) -> None:
    """Write to `out` [b, d, oh, ow] what x [b, c, h, w] and weights [d, c, k, k] give."""
    from plsc.nn.kernels import convolution_loops  # which cannot be imported without numba

    _check(x, weights, out, stride, padding)
    rows = _rows(weights.shape[1:], out.shape)
    arguments = x, weights, out, stride, padding, rows
    share(convolution_loops.forward, x.shape[0], *arguments, *blas.functions())


def backward(
    x: Array,
    weights: Array,
    grad: Array,
    grad_x: Array | None,
    grad_weights: Array,
    *,
    stride: int,
    padding: int,
) -> None:
    """Write the gradients of x (unless None) and weights, given that of the output."""
    from plsc.nn.kernels import convolution_loops  # which cannot be imported without numba

    _check(x, weights, grad, stride, padding)
    needed = grad_x is not None
    target = grad_x if grad_x is not None else np.empty((1, 1, 1, 1), np.float32)
    assert not needed or target.shape == x.shape
    assert grad_weights.shape == weights.shape
    parts = min(threads(), x.shape[0])
    sums = np.zeros((parts, *weights.shape), np.float32)
    rows = _rows(weights.shape[1:], grad.shape)
    arguments = x, weights, grad, target, needed, sums, stride, padding, rows
    share(convolution_loops.backward, parts, *arguments, *blas.functions())
    np.sum(sums, axis=0, out=grad_weights)


def _rows(taps: tuple[int, ...], out: tuple[int, ...]) -> int:
    """Return how many output rows a tile has."""
    pixels = max(LEAST_PIXELS, TILE // int(np.prod(taps)))
    return max(1, min(round(pixels / out[3]), out[0] * out[2]))


def _check(x: Array, weights: Array, out: Array, stride: int, padding: int) -> None:
    """Check that arrays fit: the loops check no bounds."""
    d, c, k, _ = weights.shape
    sides = [(side + 2 * padding - k) // stride + 1 for side in x.shape[2:]]
    assert weights.shape == (d, x.shape[1], k, k) and out.shape == (x.shape[0], d, *sides)
    assert min(sides) >= 1 and stride >= 1 and padding >= 0
    assert max(x.size, out.size, weights.size) < 2**31
