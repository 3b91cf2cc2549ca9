"""The compiled part of `plsc.nn.kernels.convolution`; importing it imports numba."""

import numpy as np

from plsc.nn.kernels.blas import PLAIN, ROW_MAJOR, TRANSPOSED
from plsc.nn.kernels.compiled import machine_code


@machine_code
def multiply(sgemm, by_a, by_b, sizes, a, step_a, b, step_b, beta, c, step_c):
    """Set c [m, n] = beta * c + a [m, k] @ b [k, n], rows `step` apart; sizes are (m, n, k)."""
    sgemm(
        np.int32(ROW_MAJOR), np.int32(by_a), np.int32(by_b),
        np.int32(sizes[0]), np.int32(sizes[1]), np.int32(sizes[2]),
        np.float32(1), a.ctypes.data, np.int32(step_a), b.ctypes.data, np.int32(step_b),
        np.float32(beta), c.ctypes.data, np.int32(step_c),
    )  # fmt: skip


@machine_code
def copy(source, target):
    """Copy the first elements of `source` to all of `target`; from 0 on, to be vectorised."""
    for i in range(target.size):
        target[i] = source[i]


@machine_code
def add(source, target):
    """Add all of `source` to the first elements of `target`."""
    for i in range(source.size):
        target[i] += source[i]


@machine_code
def unfold(x, columns, first, last, height, width, k, stride, padding):
    """Write columns [c * k * k, pixels] of output rows first..last, counted over all images."""
    lines, side = x.shape[2:]
    for b in range(first // height, (last - 1) // height + 1):
        lower, upper = max(first, b * height), min(last, (b + 1) * height)
        for c in range(x.shape[1]):
            plane = x[b, c].ravel()
            for ky in range(k):
                # the rows of this image's output whose input lies within the image
                low = max(lower, b * height + (padding - ky + stride - 1) // stride)
                high = min(upper, b * height + (lines - 1 + padding - ky) // stride + 1)
                low = min(max(low, lower), upper)
                high = max(high, low)
                for kx in range(k):
                    column = columns[(c * k + ky) * k + kx]
                    column[(lower - first) * width : (low - first) * width] = 0
                    column[(high - first) * width : (upper - first) * width] = 0
                    if low == high:
                        continue
                    start = min(width, max(0, (padding - kx + stride - 1) // stride))
                    stop = max(start, min(width, (side - 1 + padding - kx) // stride + 1))
                    if stride == 1 and side == width:
                        # row after row lies as in the image: one long copy, then the borders
                        shift = ((low - b * height) + ky - padding) * side + kx - padding
                        at, size = (low - first) * width, (high - low) * width
                        skipped, size = max(0, -shift), min(size, plane.size - shift)
                        copy(plane[shift + skipped :], column[at + skipped : at + size])
                        for i in range(start):
                            for row in range(low, high):
                                column[(row - first) * width + i] = 0
                        for i in range(stop, width):
                            for row in range(low, high):
                                column[(row - first) * width + i] = 0
                        continue
                    for row in range(low, high):
                        at = (row - first) * width
                        line = ((row - b * height) * stride + ky - padding) * side + kx - padding
                        for i in range(start):
                            column[at + i] = 0
                        source, target = (
                            plane[line + start * stride :],
                            column[at + start : at + stop],
                        )
                        for i in range(target.size):
                            target[i] = source[i * stride]
                        for i in range(stop, width):
                            column[at + i] = 0


@machine_code
def fold(columns, x, first, last, height, width, k, stride, padding):
    """Add columns, whose borders it spoils, to the places that `unfold` read them from."""
    lines, side = x.shape[2:]
    for b in range(first // height, (last - 1) // height + 1):
        lower, upper = max(first, b * height), min(last, (b + 1) * height)
        for c in range(x.shape[1]):
            plane = x[b, c].ravel()  # a view: x is contiguous
            for ky in range(k):
                low = max(lower, b * height + (padding - ky + stride - 1) // stride)
                high = min(upper, b * height + (lines - 1 + padding - ky) // stride + 1)
                if low >= high:
                    continue
                for kx in range(k):
                    column = columns[(c * k + ky) * k + kx]
                    start = min(width, max(0, (padding - kx + stride - 1) // stride))
                    stop = max(start, min(width, (side - 1 + padding - kx) // stride + 1))
                    if stride == 1 and side == width:
                        for row in range(low, high):
                            at = (row - first) * width
                            for i in range(start):
                                column[at + i] = 0
                            for i in range(stop, width):
                                column[at + i] = 0
                        shift = ((low - b * height) + ky - padding) * side + kx - padding
                        at, size = (low - first) * width, (high - low) * width
                        skipped, size = max(0, -shift), min(size, plane.size - shift)
                        add(column[at + skipped : at + size], plane[shift + skipped :])
                        continue
                    for row in range(low, high):
                        at = (row - first) * width
                        line = ((row - b * height) * stride + ky - padding) * side + kx - padding
                        source, target = (
                            column[at + start : at + stop],
                            plane[line + start * stride :],
                        )
                        for i in range(source.size):
                            target[i * stride] += source[i]


@machine_code
def forward(start, stop, x, weights, out, stride, padding, rows, sgemm, set_threads):
    """Write images start..stop of the output [b, d, height, width]."""
    d, k = weights.shape[0], weights.shape[2]
    height, width = out.shape[2:]
    taps = weights.size // d
    columns = np.empty((taps, rows * width), np.float32)
    result = np.empty((d, rows * width), np.float32)
    before = set_threads(np.int32(1))
    if k == 1 and stride == 1 and padding == 0:  # images are columns already
        pixels = height * width
        for b in range(start, stop):
            sizes = d, pixels, taps
            multiply(sgemm, PLAIN, PLAIN, sizes, weights, taps, x[b], pixels, 0, out[b], pixels)
        start = stop
    for first in range(start * height, stop * height, rows):
        last = min(first + rows, stop * height)
        n, most = (last - first) * width, rows * width
        unfold(x, columns, first, last, height, width, k, stride, padding)
        sizes = d, n, taps
        multiply(sgemm, PLAIN, PLAIN, sizes, weights, taps, columns, most, 0, result, most)
        for channel in range(d):
            for row in range(first, last):
                line, at = out[row // height, channel, row % height], (row - first) * width
                copy(result[channel, at:], line)
    set_threads(before)


@machine_code
def backward(
    start, stop, x, weights, grad, grad_x, needed, sums, stride, padding, rows, sgemm, set_threads
):
    """Write `grad_x` (if `needed`) and weights' gradient sums of parts start..stop of len(sums)."""
    d, k = weights.shape[0], weights.shape[2]
    height, width = grad.shape[2:]
    taps, most = weights.size // d, rows * width
    columns = np.empty((taps, most), np.float32)
    given = np.empty((d, most), np.float32)
    before = set_threads(np.int32(1))
    for part in range(start, stop):
        own = sums[part]
        lower = x.shape[0] * part // sums.shape[0]
        upper = x.shape[0] * (part + 1) // sums.shape[0]
        if k == 1 and stride == 1 and padding == 0:
            n = height * width
            for b in range(lower, upper):
                sizes = d, taps, n
                multiply(sgemm, PLAIN, TRANSPOSED, sizes, grad[b], n, x[b], n, 1, own, taps)
                if needed:
                    sizes = taps, n, d
                    multiply(
                        sgemm, TRANSPOSED, PLAIN, sizes, weights, taps, grad[b], n, 0, grad_x[b], n
                    )
            continue
        if needed:
            grad_x[lower:upper] = 0
        for first in range(lower * height, upper * height, rows):
            last = min(first + rows, upper * height)
            n = (last - first) * width
            for channel in range(d):
                for row in range(first, last):
                    line, at = grad[row // height, channel, row % height], (row - first) * width
                    copy(line, given[channel, at : at + width])
            unfold(x, columns, first, last, height, width, k, stride, padding)
            sizes = d, taps, n
            multiply(sgemm, PLAIN, TRANSPOSED, sizes, given, most, columns, most, 1, own, taps)
            if needed:
                sizes = taps, n, d
                multiply(
                    sgemm, TRANSPOSED, PLAIN, sizes, weights, taps, given, most, 0, columns, most
                )
                fold(columns, grad_x, first, last, height, width, k, stride, padding)
    set_threads(before)
