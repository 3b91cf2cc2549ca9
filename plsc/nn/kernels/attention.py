"""Softmax attention over a few hundred tokens, head by head, in a core's cache.

Queries, keys and values are read where one linear layer wrote them, and their gradients are written
to the like places, so nothing is transposed. Each thread takes heads of its own.
"""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from plsc.nn.kernels import blas
from plsc.nn.kernels.compiled import share

Array = NDArray[np.float32]


def available() -> bool:
    """Whether there is a matrix product to call."""
    return blas.functions() is not None


def forward(qkv: Array, out: Array, weights: Array | None) -> None:
    """Write to `out` [b, n, heads, d] softmax(q kᵀ / √d) v, of qkv [b, n, 3, heads, d].

    The softmax goes to `weights` [b, heads, n, n], unless None.
    """
    keep = weights is not None
    target = weights if weights is not None else np.empty((1, 1, 1, 1), np.float32)
    _check(qkv, out, target if keep else None)
    items = qkv.shape[0] * qkv.shape[3]
    share(_loops().forward, items, qkv, out, target, keep, *_functions())


def backward(qkv: Array, weights: Array, grad: Array, grad_qkv: Array) -> None:
    """Write the gradient of qkv, from that of `out`; `weights` as `forward` wrote them."""
    _check(qkv, grad, weights)
    assert grad_qkv.shape == qkv.shape
    items = qkv.shape[0] * qkv.shape[3]
    share(_loops().backward, items, qkv, weights, grad, grad_qkv, *_functions())


def _loops() -> ModuleType:
    """Imported where they are called: without numba they cannot be."""
    from plsc.nn.kernels import attention_loops

    return attention_loops


def _functions() -> tuple:
    functions = blas.functions()
    assert functions is not None
    return functions


def _check(qkv: Array, out: Array, weights: Array | None) -> None:
    """The loops check no bounds, so their arrays must fit."""
    b, n, three, heads, d = qkv.shape
    assert three == 3 and out.shape == (b, n, heads, d) and qkv[0].size < 2**31
    assert weights is None or weights.shape == (b, heads, n, n)
