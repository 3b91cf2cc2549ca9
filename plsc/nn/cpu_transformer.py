"""Linear layers, LayerNorm and attention with kernels of their own on CPUs.

Paddle's in parameters, state dict and values (to rounding), and in everything where
`plsc.nn.cpu_tensors.runs_here` says no. Paddle adds up the gradients of a bias and of
LayerNorm in one thread, column by column, and transposes every head's queries, keys and values.
"""

import numpy as np
import paddle
import paddle.nn.functional as F
from numpy.typing import NDArray
from paddle import nn
from paddle.autograd import PyLayer

from plsc.nn.cpu_tensors import empty, runs_here, view, wanted_gradients
from plsc.nn.kernels import attention, blas, rows


class Linear(nn.Linear):
    """x @ weight + bias; the products are Paddle's."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map [..., in_features] to [..., out_features]."""
        if self.bias is None or not runs_here(x, self.weight, self.bias):
            return super().forward(x)
        if not paddle.is_grad_enabled():
            return _linear(x, self.weight, self.bias)
        return _Linear.apply(x, self.weight, self.bias)


class LayerNorm(nn.LayerNorm):
    """(x - mean) / sqrt(variance + epsilon) * weight + bias, over the last dimension."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Normalise [..., dim]; the shape stays."""
        if not (
            x.ndim > 1
            and self.weight is not None
            and self.bias is not None
            and list(x.shape[-1:]) == list(self._normalized_shape)
            and runs_here(x, self.weight, self.bias)
        ):
            return super().forward(x)
        if not paddle.is_grad_enabled():
            return _normalised(x, self.weight, self.bias, self._epsilon)[0]
        return _LayerNorm.apply(x, self.weight, self.bias, self._epsilon)


def attend(qkv: paddle.Tensor, num_heads: int) -> paddle.Tensor:
    """Compute softmax attention of `num_heads` heads: [b, n, 3 * dim] -> [b, n, dim].

    `qkv` are the queries of all heads, then the keys, then the values.
    """
    n, dim = qkv.shape[1], qkv.shape[2] // 3
    if runs_here(qkv) and blas.available():
        if not paddle.is_grad_enabled():
            return _attended(qkv, num_heads, keep=False)[0]
        return _Attention.apply(qkv, num_heads)
    split = qkv.reshape([-1, n, 3, num_heads, dim // num_heads])
    q, k, v = split.transpose([2, 0, 3, 1, 4]).unbind(0)  # [b, heads, n, head_dim] each
    # scaled before the product: [b, heads, n, n] could overflow in half precision
    scale = (dim // num_heads) ** -0.5
    weights = F.softmax((q * scale) @ k.transpose([0, 1, 3, 2]), axis=-1)
    return (weights @ v).transpose([0, 2, 1, 3]).reshape([-1, n, dim])


def _rows(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return array.reshape(-1, array.shape[-1])


def _linear(x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
    out = F.linear(x.detach(), weight.detach())
    rows.add_bias(_rows(view(out)), view(bias))
    return out


def _normalised(
    x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor, epsilon: float
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Return the result and its rows' statistics."""
    (out, written), given = empty(x.shape), _rows(view(x))
    statistics, kept = empty([given.shape[0], 2])
    rows.normalise(given, view(weight), view(bias), _rows(written), kept, epsilon=epsilon)
    return out, statistics


def _split(array: NDArray[np.float32], num_heads: int, parts: int) -> NDArray[np.float32]:
    """Reshape [b, n, parts * dim] to [b, n, parts, heads, head_dim]."""
    return array.reshape(*array.shape[:2], parts, num_heads, -1)


def _attended(
    qkv: paddle.Tensor, num_heads: int, *, keep: bool
) -> tuple[paddle.Tensor, paddle.Tensor | None]:
    """Return the result and, if `keep`, the softmax."""
    b, n, width = qkv.shape
    out, written = empty([b, n, width // 3])
    weights, kept = empty([b, num_heads, n, n]) if keep else (None, None)
    attention.forward(_split(view(qkv), num_heads, 3), _split(written, num_heads, 1)[:, :, 0], kept)
    return out, weights


class _Linear(PyLayer):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        ctx.wanted = wanted_gradients(x, weight, bias)
        return _linear(x, weight, bias)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensor()
        grad_x = grad_weight = grad_bias = None
        flat = grad.reshape([-1, grad.shape[-1]])
        if ctx.wanted[0]:
            grad_x = paddle.matmul(grad, weight, transpose_y=True)
        if ctx.wanted[1]:
            grad_weight = paddle.matmul(x.reshape([-1, x.shape[-1]]), flat, transpose_x=True)
        if ctx.wanted[2]:
            grad_bias, written = empty(grad.shape[-1:])
            rows.sum_rows(view(flat), written)
        return grad_x, grad_weight, grad_bias


class _LayerNorm(PyLayer):
    @staticmethod
    def forward(ctx, x, weight, bias, epsilon):
        out, statistics = _normalised(x, weight, bias, epsilon)
        ctx.save_for_backward(x, weight, statistics)
        ctx.wanted = wanted_gradients(x, weight, bias)
        return out

    @staticmethod
    def backward(ctx, grad):
        x, weight, statistics = ctx.saved_tensor()
        (grad_x, written_x), (grad_weight, written_weight), (grad_bias, written_bias) = (
            empty(tensor.shape) for tensor in (x, weight, weight)
        )
        given, gradient, written = (_rows(array) for array in (view(x), view(grad), written_x))
        rows.normalise_backward(
            given, view(weight), view(statistics), gradient, written, written_weight, written_bias
        )
        gradients = (grad_x, grad_weight, grad_bias)
        return tuple(g if use else None for g, use in zip(gradients, ctx.wanted, strict=True))


class _Attention(PyLayer):
    @staticmethod
    def forward(ctx, qkv, num_heads):
        out, weights = _attended(qkv, num_heads, keep=True)
        ctx.save_for_backward(qkv, weights)
        ctx.num_heads = num_heads
        return out

    @staticmethod
    def backward(ctx, grad):
        qkv, weights = ctx.saved_tensor()
        grad_qkv, written = empty(qkv.shape)
        attention.backward(
            _split(view(qkv), ctx.num_heads, 3),
            view(weights),
            _split(view(grad), ctx.num_heads, 1)[:, :, 0],
            _split(written, ctx.num_heads, 3),
        )
        return grad_qkv
