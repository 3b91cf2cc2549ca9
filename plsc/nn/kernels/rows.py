"""Work on the rows of a matrix: biases and LayerNorm, with their gradients."""

import numpy as np
from numpy.typing import NDArray

from plsc.nn.kernels.compiled import compiled, share

Array = NDArray[np.float32]
ROWS = 64  # rows whose gradients of a bias are added up in float32


def add_bias(x: Array, bias: Array) -> None:
    """Add bias [c] to each row of x [n, c], in place."""
    _check(x, bias)
    share(_add_bias, x.shape[0], x, bias)


def sum_rows(grad: Array, total: Array) -> None:
    """Write to total [c] the sum of grad [n, c] over n: the gradient of a bias."""
    _check(grad, total)
    sums = np.zeros((-(-grad.shape[0] // ROWS), grad.shape[1]), np.float32)
    share(_sum_rows, sums.shape[0], grad, sums)
    total[...] = sums.sum(axis=0, dtype=np.float64)


def normalise(
    x: Array, scale: Array, bias: Array, out: Array, statistics: Array, *, epsilon: float
) -> None:
    """Write LayerNorm (arXiv:1607.06450) of x [n, c] to `out`; scale and bias [c].

    Also write 1/σ and μ of each row to `statistics` [n, 2], with σ² = variance + epsilon.
    """
    _check(x, scale, bias, rows=(out,), statistics=statistics)
    share(_normalise, x.shape[0], x, scale, bias, out, statistics, epsilon)


def normalise_backward(
    x: Array, scale: Array, statistics: Array, grad: Array,
    grad_x: Array, grad_scale: Array, grad_bias: Array,
) -> None:  # fmt: skip
    """Write the gradients of what `normalise` was given, from that of what it wrote."""
    _check(x, scale, grad_scale, grad_bias, rows=(grad, grad_x), statistics=statistics)
    sums = np.zeros((2, -(-x.shape[0] // ROWS), x.shape[1]), np.float32)
    share(_normalise_backward, sums.shape[1], x, scale, statistics, grad, grad_x, sums)
    grad_scale[...], grad_bias[...] = sums.sum(axis=1, dtype=np.float64)


def _check(
    x: Array, *vectors: Array, rows: tuple[Array, ...] = (), statistics: Array | None = None
) -> None:
    """Check that arrays fit: the loops check no bounds."""
    assert all(vector.shape == x.shape[1:] for vector in vectors)
    assert all(other.shape == x.shape for other in rows)
    assert statistics is None or statistics.shape == (x.shape[0], 2)


@compiled
def _add_bias(start, stop, x, bias):
    for row in range(start, stop):
        line = x[row]
        for c in range(line.size):
            line[c] += bias[c]


@compiled
def _sum_rows(start, stop, grad, sums):
    for block in range(start, stop):
        total = sums[block]
        for row in range(block * ROWS, min((block + 1) * ROWS, grad.shape[0])):
            line = grad[row]
            for c in range(line.size):
                total[c] += line[c]


@compiled
def _normalise(start, stop, x, scale, bias, out, statistics, epsilon):
    for row in range(start, stop):
        line, written = x[row], out[row]
        total = np.float32(0)
        for c in range(line.size):
            total += line[c]
        mean = total / np.float32(line.size)
        squares = np.float32(0)
        for c in range(line.size):
            deviation = line[c] - mean
            squares += deviation * deviation
        variance = squares / np.float32(line.size)
        factor = np.float32(1 / np.sqrt(np.float64(variance) + epsilon))
        for c in range(line.size):
            written[c] = (line[c] - mean) * factor * scale[c] + bias[c]
        statistics[row, 0] = factor
        statistics[row, 1] = mean


@compiled
def _normalise_backward(start, stop, x, scale, statistics, grad, grad_x, sums):
    for block in range(start, stop):
        scales, biases = sums[0, block], sums[1, block]
        for row in range(block * ROWS, min((block + 1) * ROWS, x.shape[0])):
            line, given, written = x[row], grad[row], grad_x[row]
            factor, mean = statistics[row, 0], statistics[row, 1]
            along, total = np.float32(0), np.float32(0)
            for c in range(line.size):
                normal = (line[c] - mean) * factor
                g = given[c] * scale[c]
                total += g
                along += g * normal
                scales[c] += given[c] * normal
                biases[c] += given[c]
            total /= np.float32(line.size)
            along /= np.float32(line.size)
            for c in range(line.size):
                normal = (line[c] - mean) * factor
                written[c] = (given[c] * scale[c] - total - normal * along) * factor
