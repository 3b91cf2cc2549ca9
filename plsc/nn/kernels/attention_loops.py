"""The compiled part of `plsc.nn.kernels.attention`; importing it imports numba."""

import numpy as np

from plsc.nn.kernels.blas import PLAIN, TRANSPOSED
from plsc.nn.kernels.compiled import machine_code
from plsc.nn.kernels.convolution_loops import multiply

LOG2_E = np.float32(1.4426950408889634)
# 2**f for f in -0.5..0.5 to 3e-9: coefficients of the Chebyshev interpolation
C0, C1, C2, C3, C4, C5, C6 = (
    np.float32(c)
    for c in (
        1.0, 0.6931472067162222, 0.24022651213692855, 0.05550327202260434,
        0.009618025589919612, 0.0013400436944699854, 0.000154697361515149,
    )
)  # fmt: skip
LEAST = np.float32(-126)  # exponent of the smallest normal float32; below, 2**x is 0
BELOW_SIGN = np.int32(2**31 - 1)  # all bits of a float32 but its sign


@machine_code
def largest_of(line):
    """Return the largest number of `line`; a NaN counts as larger or smaller than all others.

    Found among integers of the same order, because a maximum of floats, whose NaN and zeros have
    rules of their own, is not computed in vector registers.
    """
    bits = line.view(np.int32)
    largest = np.int32(-(2**31))
    for i in range(bits.size):
        order = np.int32(bits[i] ^ ((bits[i] >> np.int32(31)) & BELOW_SIGN))
        largest = order if order > largest else largest
    return np.int32(largest ^ ((largest >> np.int32(31)) & BELOW_SIGN)).view(np.float32)


@machine_code
def softmax(matrix, scale):
    """Take softmax of scale * matrix's rows, in place; scale > 0. NaN or infinity: a row of NaN.

    exp(x) = 2**y with y = x * log2(e): an integer power goes into the exponent's bits, the rest
    into a polynomial. A call of exp would keep the loop from vector registers.
    """
    factor = scale * LOG2_E
    for row in range(matrix.shape[0]):
        line = matrix[row]
        largest, total = largest_of(line), np.float32(0)
        for i in range(line.size):
            y = (line[i] - largest) * factor
            within = y if y > LEAST else LEAST  # a NaN has no integer
            whole = np.rint(within)
            f = within - whole
            power = C0 + f * (C1 + f * (C2 + f * (C3 + f * (C4 + f * (C5 + f * C6)))))
            power *= np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
            power = power if y > LEAST else (np.float32(0) if y <= LEAST else y)
            line[i] = power
            total += power
        inverse = np.float32(1) / total
        for i in range(line.size):
            line[i] *= inverse


@machine_code
def softmax_backward(weights, grad, scale):
    """Turn `grad`, the gradient of softmax's result, into that of its argument, in place."""
    for row in range(grad.shape[0]):
        given, line = weights[row], grad[row]
        along = np.float32(0)
        for i in range(line.size):
            along += given[i] * line[i]
        for i in range(line.size):
            line[i] = given[i] * (line[i] - along) * scale


@machine_code
def forward(start, stop, qkv, out, weights, keep, sgemm, set_threads):
    """Write `out` of heads start..stop, counted over all images."""
    _, n, _, heads, d = qkv.shape
    scale = np.float32(1 / np.sqrt(d))
    step, width = 3 * heads * d, heads * d
    own = np.empty((n, n), np.float32)
    before = set_threads(np.int32(1))
    for item in range(start, stop):
        b, h = item // heads, item % heads
        q, k, v = qkv[b, 0, 0, h], qkv[b, 0, 1, h], qkv[b, 0, 2, h]
        scores = weights[b, h] if keep else own
        multiply(sgemm, PLAIN, TRANSPOSED, (n, n, d), q, step, k, step, 0, scores, n)
        softmax(scores, scale)
        multiply(sgemm, PLAIN, PLAIN, (n, d, n), scores, n, v, step, 0, out[b, 0, h], width)
    set_threads(before)


@machine_code
def backward(start, stop, qkv, weights, grad, grad_qkv, sgemm, set_threads):
    """Write `grad_qkv` of heads start..stop, counted over all images."""
    _, n, _, heads, d = qkv.shape
    scale = np.float32(1 / np.sqrt(d))
    step, width = 3 * heads * d, heads * d
    scores = np.empty((n, n), np.float32)
    before = set_threads(np.int32(1))
    for item in range(start, stop):
        b, h = item // heads, item % heads
        q, k, v = qkv[b, 0, 0, h], qkv[b, 0, 1, h], qkv[b, 0, 2, h]
        grad_q, grad_k, grad_v = (
            grad_qkv[b, 0, 0, h], grad_qkv[b, 0, 1, h], grad_qkv[b, 0, 2, h],
        )  # fmt: skip
        given, softmaxed = grad[b, 0, h], weights[b, h]
        multiply(sgemm, TRANSPOSED, PLAIN, (n, d, n), softmaxed, n, given, width, 0, grad_v, step)
        multiply(sgemm, PLAIN, TRANSPOSED, (n, n, d), given, width, v, step, 0, scores, n)
        softmax_backward(softmaxed, scores, scale)
        multiply(sgemm, PLAIN, PLAIN, (n, d, n), scores, n, k, step, 0, grad_q, step)
        multiply(sgemm, TRANSPOSED, PLAIN, (n, d, n), scores, n, q, step, 0, grad_k, step)
    set_threads(before)
