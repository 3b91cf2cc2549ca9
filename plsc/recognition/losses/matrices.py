"""Compute with matrices [n, k] of samples and classes: cosines, logits and softmax of the head.

On a GPU each function is one operator of Paddle. On a CPU these passes over memory set the speed of
the head, and numpy does all of them but the product. numpy needs a fifth to a half of the time of
Paddle's operators, and sums a million columns to six digits where they reach three.
"""

from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor

from plsc.nn.device import on_cpu

# The loss shows that a step overflowed, so numpy need not warn.
_silent = np.errstate(all="ignore")


def product(left: Tensor, right: Tensor) -> Tensor:
    """Return left [n, d] · right [k, d]ᵀ, without gradient."""
    room = _room([len(left), len(right)], left.dtype) if on_cpu() else None
    return paddle.matmul(left, right, transpose_y=True, out=room)


@_silent
def scaled(matrix: Tensor, factor: float) -> Tensor:
    """Return matrix · factor, without gradient."""
    if not on_cpu():
        return matrix * factor
    result = _room(matrix.shape, matrix.dtype)
    np.multiply(_memory(matrix), factor, out=_memory(result))
    return result


@_silent
def multiply_(matrix: Tensor, factors: Tensor) -> Tensor:
    """Multiply the matrix by `factors`, [k] or [n, 1], in place; return it."""
    if not on_cpu():
        return matrix.multiply_(factors)
    np.multiply(values := _memory(matrix), _memory(factors), out=values)
    return matrix


@_silent
def subtract_(matrix: Tensor, column: Tensor) -> Tensor:
    """Subtract `column` [n, 1] from the matrix in place; return it."""
    if not on_cpu():
        return matrix.subtract_(column)
    np.subtract(values := _memory(matrix), _memory(column), out=values)
    return matrix


@_silent
def exp_(matrix: Tensor) -> Tensor:
    """Replace the elements x of the matrix by exp(x); return it."""
    if not on_cpu():
        return matrix.exp_()
    np.exp(values := _memory(matrix), out=values)
    return matrix


@_silent
def row_maxima(matrix: Tensor) -> Tensor:
    """Return the largest element [n, 1] of each row, NaN where one is, without gradient."""
    if not on_cpu():
        return matrix.max(axis=1, keepdim=True)
    return paddle.from_dlpack(_memory(matrix).max(axis=1, keepdims=True))


@_silent
def row_sums(matrix: Tensor) -> Tensor:
    """Return the sum [n, 1] of each row, without gradient."""
    if not on_cpu():
        return matrix.sum(axis=1, keepdim=True)
    return paddle.from_dlpack(_memory(matrix).sum(axis=1, keepdims=True))


@_silent
def column_sums(matrix: Tensor) -> Tensor:
    """Return the sum [k] of each column, without gradient."""
    if not on_cpu():
        return matrix.sum(axis=0)
    return paddle.from_dlpack(_memory(matrix).sum(axis=0))


def _memory(tensor: Tensor) -> NDArray[Any]:
    """Return the memory of a tensor on a CPU."""
    array: NDArray[Any] = np.from_dlpack(tensor.detach())
    return array


def _room(shape: list[int], dtype: paddle.dtype) -> Tensor:
    """Return new memory on a CPU.

    numpy asks Linux for large pages. Paddle takes small pages; to get 50 MB in them takes half as
    long as the matrix product that fills them.
    """
    return paddle.from_dlpack(np.empty(shape, str(dtype).removeprefix("paddle.")))
