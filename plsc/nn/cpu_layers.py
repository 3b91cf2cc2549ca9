"""PReLU and convolutions with kernels of their own where Paddle's are slow: on CPUs.

The layers are Paddle's in parameters, state dict and values (to rounding). On GPUs, in static
programs (export), in other types than float32, without numba and with PLSC_STOCK_CPU=1 they are
Paddle's in everything.
"""

from types import ModuleType
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn
from paddle.autograd import PyLayer

from plsc.nn.cpu_tensors import empty, runs_here, view, wanted_gradients
from plsc.nn.kernels import blas, convolution, depthwise, prelu
from plsc.nn.kernels.compiled import threads


class PReLU(nn.PReLU):
    """x where it is positive, else x times its channel's slope."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map [b, c, ...] to the same shape, or with channels last."""
        last = self._data_format[-1] == "C"
        channels = x.shape[-1 if last else 1] if x.ndim > 1 else None
        if channels != self._weight.shape[0] or not runs_here(x, self._weight):
            return super().forward(x)
        if not paddle.is_grad_enabled():
            return _prelu(x, self._weight, last)
        return _PReLU.apply(x, self._weight, last)


class Conv2D(nn.Conv2D):
    """A square convolution, without bias: of all channels, or of groups of them (Paddle's)."""

    kernels: ModuleType = convolution

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        data_format: str = "NCHW",
        **options: Any,
    ):
        """Take further options of `nn.Conv2D`."""
        geometry = {"stride": stride, "padding": padding, "groups": groups}
        options |= {"data_format": data_format, "bias_attr": False}
        super().__init__(in_channels, channels, kernel, **geometry, **options)
        self.stride, self.padding = stride, padding
        self.has_kernel = data_format == "NCHW" and groups == 1

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Map [b, c, h, w] to [b, channels, h', w'], or with channels last."""
        if not (self.has_kernel and runs_here(x, self.weight) and self.suits(x)):
            return nn.Conv2D.forward(self, x)  # in a program, super() would be a subclass's
        given = x, self.weight, self.stride, self.padding, self.kernels
        return _Convolution.apply(*given) if paddle.is_grad_enabled() else _convolved(*given)

    def suits(self, x: paddle.Tensor) -> bool:
        """Tell whether the kernel is worth its while: each thread takes images."""
        return x.shape[0] >= threads() and blas.available()


class DepthwiseConv2D(Conv2D):
    """A square convolution of each channel by itself, without bias."""

    kernels = depthwise

    def __init__(self, channels: int, kernel: int, *, padding: int = 0, **options: Any):
        """Take further options of `Conv2D`."""
        super().__init__(channels, channels, kernel, padding=padding, groups=channels, **options)
        self.has_kernel = options.get("data_format", "NCHW") == "NCHW" and padding < kernel

    def suits(self, x: paddle.Tensor) -> bool:
        """Say yes: each thread takes channels."""
        return True


def _planes(array: NDArray[np.float32], last: bool) -> NDArray[np.float32]:
    """Return the array as [b, c, n], or as [n, c] where channels are last."""
    return array.reshape((-1, array.shape[-1]) if last else (*array.shape[:2], -1))


def _prelu(x: paddle.Tensor, slopes: paddle.Tensor, last: bool) -> paddle.Tensor:
    out, written = empty(x.shape)
    run = prelu.forward_rows if last else prelu.forward
    run(_planes(view(x), last), view(slopes), _planes(written, last))
    return out


def _convolved(
    x: paddle.Tensor, weight: paddle.Tensor, stride: int, padding: int, kernels: ModuleType
) -> paddle.Tensor:
    sides = [(side + 2 * padding - weight.shape[-1]) // stride + 1 for side in x.shape[2:]]
    out, written = empty([x.shape[0], weight.shape[0], *sides])
    kernels.forward(view(x), view(weight), written, stride=stride, padding=padding)
    return out


class _PReLU(PyLayer):
    @staticmethod
    def forward(ctx, x, slopes, last):
        ctx.save_for_backward(x, slopes)
        ctx.wanted = wanted_gradients(x, slopes)
        ctx.last = last
        return _prelu(x, slopes, last)

    @staticmethod
    def backward(ctx, grad):
        x, slopes = ctx.saved_tensor()
        grad_x, written_x = empty(x.shape)
        grad_slopes, written_slopes = empty(slopes.shape)
        run = prelu.backward_rows if ctx.last else prelu.backward
        given, gradient, written = (_planes(a, ctx.last) for a in (view(x), view(grad), written_x))
        run(given, view(slopes), gradient, written, written_slopes)
        return grad_x if ctx.wanted[0] else None, grad_slopes if ctx.wanted[1] else None


class _Convolution(PyLayer):
    @staticmethod
    def forward(ctx, x, weight, stride, padding, kernels):
        ctx.save_for_backward(x, weight)
        ctx.wanted = wanted_gradients(x, weight)
        ctx.geometry, ctx.kernels = {"stride": stride, "padding": padding}, kernels
        return _convolved(x, weight, stride, padding, kernels)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensor()
        grad_weight, written = empty(weight.shape)
        grad_x, written_x = empty(x.shape) if ctx.wanted[0] else (None, None)
        ctx.kernels.backward(view(x), view(weight), view(grad), written_x, written, **ctx.geometry)
        return grad_x, grad_weight if ctx.wanted[1] else None
