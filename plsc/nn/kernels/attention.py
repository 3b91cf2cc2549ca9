"""Softmax attention over a few hundred tokens, head by head, in a core's cache.

Queries, keys and values are read where one linear layer wrote them, and their gradients are written
to the like places, so nothing is transposed. Each thread takes heads of its own.
"""

import numpy as np
from numpy.typing import NDArray

from plsc.nn.kernels import blas
from plsc.nn.kernels.compiled import share

Array = NDArray[np.float32]


def forward(qkv: Array, out: Array, weights: Array | None) -> None:
    """Write to `out` [b, n, heads, d] softmax(q kᵀ / √d) v, of qkv [b, n, 3, heads, d].

    The softmax goes to `weights` [b, heads, n, n], unless None.
    """
    from plsc.nn.kernels import attention_loops  # which cannot be imported without numba

    keep = weights is not None
    target = weights if weights is not None else np.empty((1, 1, 1, 1), np.float32)
    _check(qkv, out, target if keep else None)
    items = qkv.shape[0] * qkv.shape[3]
    share(attention_loops.forward, items, qkv, out, target, keep, *blas.functions())


def backward(qkv: Array, weights: Array, grad: Array, grad_qkv: Array) -> None:
    """Write the gradient of qkv, from that of `out`; `weights` as `forward` wrote them."""
    from plsc.nn.kernels import attention_loops  # which cannot be imported without numba

    _check(qkv, grad, weights)
    assert grad_qkv.shape == qkv.shape
    items = qkv.shape[0] * qkv.shape[3]
    share(attention_loops.backward, items, qkv, weights, grad, grad_qkv, *blas.functions())


def _check(qkv: Array, out: Array, weights: Array | None) -> None:
    """Check that arrays fit: the loops check no bounds."""
    b, n, three, heads, d = qkv.shape
    assert three == 3 and out.shape == (b, n, heads, d) and qkv[0].size < 2**31
    assert weights is None or weights.shape == (b, heads, n, n)
