"""PReLU and its gradients: max(x, 0) + slope[channel] * min(x, 0)."""

import numpy as np
from numpy.typing import NDArray

from plsc.nn.kernels.compiled import compiled, share

Array = NDArray[np.float32]
ROWS = 256  # rows of channels-last maps whose slope gradients are added up in float32


def forward(x: Array, slopes: Array, out: Array) -> None:
    """Write PReLU of x to `out`, channels first: x, out [b, c, n], slopes [c]."""
    share(_forward, x.shape[1], x, slopes, out)


def backward(x: Array, slopes: Array, grad: Array, grad_x: Array, grad_slopes: Array) -> None:
    """Write the gradients of x [b, c, n] and slopes [c], given that of what `forward` wrote."""
    share(_backward, x.shape[1], x, slopes, grad, grad_x, grad_slopes)


def forward_rows(x: Array, slopes: Array, out: Array) -> None:
    """Write PReLU of x to `out`, channels last: x, out [n, c], slopes [c]."""
    share(_forward_rows, x.shape[0], x, slopes, out)


def backward_rows(x: Array, slopes: Array, grad: Array, grad_x: Array, grad_slopes: Array) -> None:
    """Write the gradients of x [n, c] and slopes [c], given that of what `forward_rows` wrote."""
    blocks = -(-x.shape[0] // ROWS)
    sums = np.zeros((blocks, x.shape[1]), np.float32)
    share(_backward_rows, blocks, x, slopes, grad, grad_x, sums)
    grad_slopes[...] = sums.sum(axis=0, dtype=np.float64)


@compiled
def _forward(start, stop, x, slopes, out):
    for b in range(x.shape[0]):
        for c in range(start, stop):
            slope = slopes[c]
            for i in range(x.shape[2]):
                value = x[b, c, i]
                out[b, c, i] = value if value > 0 else value * slope


@compiled
def _backward(start, stop, x, slopes, grad, grad_x, grad_slopes):
    for c in range(start, stop):
        slope, total = slopes[c], 0.0
        for b in range(x.shape[0]):
            plane = np.float32(0)
            for i in range(x.shape[2]):
                value, g = x[b, c, i], grad[b, c, i]
                positive = value > 0
                grad_x[b, c, i] = g if positive else g * slope
                plane += np.float32(0) if positive else g * value
            total += plane
        grad_slopes[c] = total


@compiled
def _forward_rows(start, stop, x, slopes, out):
    for row in range(start, stop):
        for c in range(x.shape[1]):
            value = x[row, c]
            out[row, c] = value if value > 0 else value * slopes[c]


@compiled
def _backward_rows(start, stop, x, slopes, grad, grad_x, sums):
    for block in range(start, stop):
        for row in range(block * ROWS, min((block + 1) * ROWS, x.shape[0])):
            for c in range(x.shape[1]):
                value, g = x[row, c], grad[row, c]
                positive = value > 0
                grad_x[row, c] = g if positive else g * slopes[c]
                sums[block, c] += np.float32(0) if positive else g * value
