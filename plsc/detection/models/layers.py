"""Convolutions with BatchNorm, as all parts of a detector use them.

Keys of the state dicts are the PyTorch original's (biubug6/Pytorch_Retinaface), with Paddle's names
for running statistics.
"""

import math

from paddle import nn

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
    return nn.LeakyReLU(slope) if slope else nn.ReLU()
