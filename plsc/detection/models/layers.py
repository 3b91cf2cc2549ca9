"""Convolutions with BatchNorm, as all parts of a detector use them.

Keys of the state dicts are the PyTorch original's (biubug6/Pytorch_Retinaface), with Paddle's names
for running statistics.
"""

import math

import paddle
from paddle import nn
from paddle.nn import functional as F

from plsc.nn.cpu_layers import Conv2D, DepthwiseConv2D

NARROW, NARROW_SLOPE = 64, 0.1  # as published: the leak of a neck of at most so many channels


def initial() -> nn.initializer.KaimingUniform:
    """Return what weights begin with: uniform within 1 / sqrt(fan in), as torch has it."""
    return nn.initializer.KaimingUniform(negative_slope=math.sqrt(5), nonlinearity="leaky_relu")


def neck_slope(channels: int) -> float:
    """Return the negative slope of the activations in a neck of so many channels."""
    return NARROW_SLOPE if channels <= NARROW else 0.0


def conv_norm(
    in_channels: int, channels: int, kernel: int, *, stride: int = 1, slope: float | None = None
) -> nn.Sequential:
    """Return a convolution, BatchNorm and a leaky ReLU; without the last if `slope` is None."""
    layers = [
        Conv2D(
            in_channels,
            channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            weight_attr=initial(),
        ),
        nn.BatchNorm2D(channels),
    ]
    return nn.Sequential(*layers, *([] if slope is None else [activation(slope)]))


def separable(in_channels: int, channels: int, *, stride: int, slope: float) -> nn.Sequential:
    """Return a 3x3 convolution of each channel by itself, then one of 1x1 over all of them."""
    return nn.Sequential(
        DepthwiseConv2D(in_channels, 3, stride=stride, padding=1, weight_attr=initial()),
        nn.BatchNorm2D(in_channels),
        activation(slope),
        Conv2D(in_channels, channels, 1, weight_attr=initial()),
        nn.BatchNorm2D(channels),
        activation(slope),
    )


def activation(slope: float) -> nn.Layer:
    """Return a ReLU that multiplies what is negative by `slope`."""
    return LeakyReLU(slope) if slope else nn.ReLU()


class LeakyReLU(nn.Layer):
    """A ReLU that multiplies what is negative by `slope`, from 0 to 1."""

    def __init__(self, slope: float):
        super().__init__()
        self.slope = slope

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Return the same shape."""
        if paddle.in_dynamic_mode():
            return F.leaky_relu(x, self.slope)
        # paddle2onnx 2.1 would write another slope than that of the program's LeakyReLU.
        return paddle.maximum(x, x * self.slope)
