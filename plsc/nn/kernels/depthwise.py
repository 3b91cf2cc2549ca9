"""Depthwise convolution and its gradients: channel by channel, square kernel, zero padding.

A plane is copied into a padded one and seen as a single row, in which the output's element j is
the sum over taps of weight[tap] * row[j + offset(tap)]: long loops without borders, whatever the
size of the map. Elements between the output's rows are computed and thrown away. Strides compute
the unstrided output, and their gradients lie spread out among zeros: more arithmetic than needed,
but less time than anything that reads memory in steps.
"""

import numpy as np
from numpy.typing import NDArray

from plsc.nn.kernels.compiled import compiled, share

Array = NDArray[np.float32]


def forward(x: Array, weights: Array, out: Array, *, stride: int, padding: int) -> None:
    """Write to `out` [b, c, oh, ow] what x [b, c, h, w] and weights [c, 1, k, k] give."""
    _check(x, weights, out, stride, padding)
    sides = x.shape[2] + 2 * padding, x.shape[3] + 2 * padding
    share(_correlate, x.shape[1], x, weights[:, 0], out, sides, padding, 1, stride)


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
    _check(x, weights, grad, stride, padding)
    assert grad_weights.shape == weights.shape
    share(_weights, x.shape[1], x, grad, grad_weights[:, 0], stride, padding)
    if grad_x is None:
        return
    assert grad_x.shape == x.shape
    turned = np.ascontiguousarray(weights[:, 0, ::-1, ::-1])
    border = turned.shape[1] - 1
    sides = x.shape[2] + border, x.shape[3] + border
    share(_correlate, x.shape[1], grad, turned, grad_x, sides, border - padding, stride, 1)


def _check(x: Array, weights: Array, out: Array, stride: int, padding: int) -> None:
    """Check that arrays fit: the loops check no bounds."""
    b, c, *sides = x.shape
    kernel = weights.shape[-1]
    expected = [(side + 2 * padding - kernel) // stride + 1 for side in sides]
    assert weights.shape == (c, 1, kernel, kernel) and out.shape == (b, c, *expected)
    assert min(expected) >= 1 and stride >= 1 and 0 <= padding < kernel


@compiled
def _correlate(start, stop, x, weights, out, sides, border, spread, stride):
    """Put x [.., y, i] at (border + y * spread, border + i * spread) of a plane of `sides`."""
    k, step = weights.shape[1], sides[1]
    padded = np.zeros(sides[0] * step + k, np.float32)
    row = np.empty((sides[0] - k + 1) * step, np.float32)
    for c in range(start, stop):
        w = weights[c]
        for b in range(x.shape[0]):
            for y in range(x.shape[2]):
                # slices, since an index that begins at 0 is known not to be negative
                target = padded[(border + y * spread) * step + border :]
                if spread == 1:  # apart from the next loop, so that it is done in vectors
                    for i in range(x.shape[3]):
                        target[i] = x[b, c, y, i]
                else:
                    for i in range(x.shape[3]):
                        target[i * spread] = x[b, c, y, i]
            row[:] = 0
            for ky in range(k):
                if k == 3:
                    left, middle, right = w[ky, 0], w[ky, 1], w[ky, 2]
                    p = padded[ky * step :]
                    for j in range(row.size):
                        row[j] += left * p[j] + middle * p[j + 1] + right * p[j + 2]
                else:
                    for kx in range(k):
                        tap, p = w[ky, kx], padded[ky * step + kx :]
                        for j in range(row.size):
                            row[j] += tap * p[j]
            for y in range(out.shape[2]):
                source = row[y * stride * step :]
                if stride == 1:
                    for i in range(out.shape[3]):
                        out[b, c, y, i] = source[i]
                else:
                    for i in range(out.shape[3]):
                        out[b, c, y, i] = source[i * stride]


@compiled
def _weights(start, stop, x, grad, out, stride, padding):
    k, step = out.shape[1], x.shape[3] + 2 * padding
    rows = x.shape[2] + 2 * padding
    padded = np.zeros(rows * step + k, np.float32)
    row = np.zeros((rows - k + 1) * step, np.float32)
    sums = np.empty((k, k))
    for c in range(start, stop):
        sums[:] = 0
        for b in range(x.shape[0]):
            for y in range(x.shape[2]):
                target = padded[(y + padding) * step + padding :]
                for i in range(x.shape[3]):
                    target[i] = x[b, c, y, i]
            for y in range(grad.shape[2]):
                target = row[y * stride * step :]
                if stride == 1:
                    for i in range(grad.shape[3]):
                        target[i] = grad[b, c, y, i]
                else:
                    for i in range(grad.shape[3]):
                        target[i * stride] = grad[b, c, y, i]
            for ky in range(k):
                if k == 3:
                    p = padded[ky * step :]
                    left = middle = right = np.float32(0)
                    for j in range(row.size):
                        left += row[j] * p[j]
                        middle += row[j] * p[j + 1]
                        right += row[j] * p[j + 2]
                    sums[ky, 0] += left
                    sums[ky, 1] += middle
                    sums[ky, 2] += right
                else:
                    for kx in range(k):
                        total, p = np.float32(0), padded[ky * step + kx :]
                        for j in range(row.size):
                            total += row[j] * p[j]
                        sums[ky, kx] += total
        out[c] = sums
