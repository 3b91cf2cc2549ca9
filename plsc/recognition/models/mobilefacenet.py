"""MobileFaceNet: inverted bottlenecks and a global depthwise convolution (arXiv:1804.07573)."""

from typing import Any

import paddle
from paddle import nn

from plsc.config.registry import BACKBONES
from plsc.data.transforms.align import FACE_SIZE
from plsc.nn.cpu_layers import Conv2D, DepthwiseConv2D, PReLU
from plsc.nn.layers import (
    Backbone,
    DataFormat,
    NumFeatures,
    from_nchw,
    to_nchw,
)

FINAL_SIDE = FACE_SIZE // 16  # four convolutions have stride 2
FINAL_CHANNELS = 512


def _kaiming(fan_out: int) -> nn.initializer.Normal:
    return nn.initializer.Normal(0.0, (2.0 / fan_out) ** 0.5)


class Chain(nn.Layer):
    """Layers one after the other; with `residual`, the input is added to what they give."""

    def __init__(self, *layers: nn.Layer, residual: bool = False):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.residual = residual

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """Return the shape that the last layer gives; with `residual`, the input's own."""
        out = self.layers(maps)
        return maps + out if self.residual else out


def _conv_block(
    in_channels: int,
    channels: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    activation: bool = True,
    data_format: DataFormat,
) -> Chain:
    """Make a convolution, BatchNorm and, but for the linear blocks, PReLU."""
    convolution: nn.Layer
    options: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        # as published: the fan is not divided by the groups
        "weight_attr": _kaiming(channels * kernel**2),
        "data_format": data_format,
    }
    if groups == 1:
        convolution = Conv2D(in_channels, channels, kernel, **options)
    elif groups == in_channels == channels:
        convolution = DepthwiseConv2D(channels, kernel, **options)
    else:
        convolution = nn.Conv2D(
            in_channels, channels, kernel, groups=groups, bias_attr=False, **options
        )
    layers = [
        convolution,
        nn.BatchNorm2D(channels, data_format=data_format),
    ]
    if activation:
        layers.append(PReLU(channels, data_format=data_format))
    return Chain(*layers)


def _depthwise(
    in_channels: int,
    channels: int,
    width: int,
    *,
    stride: int = 2,
    residual: bool = False,
    data_format: DataFormat,
) -> Chain:
    """Make layers that expand to `width` channels, convolve each alone, project linearly."""
    return Chain(
        _conv_block(in_channels, width, data_format=data_format),
        _conv_block(
            width, width, 3, stride=stride, padding=1, groups=width, data_format=data_format
        ),
        _conv_block(width, channels, activation=False, data_format=data_format),
        residual=residual,
    )


def _residual(channels: int, depth: int, width: int, *, data_format: DataFormat) -> Chain:
    return Chain(
        *(
            _depthwise(channels, channels, width, stride=1, residual=True, data_format=data_format)
            for _ in range(depth)
        )
    )


class MobileFaceNet(Backbone):
    """Published as "mbf".

    Attributes:
        depths: how many blocks each stage has.
        scale: multiplies the channels, not the depthwise widths.

    """

    depths: tuple[int, int, int, int]
    scale: int

    def __init__(self, num_features: NumFeatures = 512, *, data_format: DataFormat = "NCHW"):
        """Make the layers with random weights."""
        super().__init__()
        self.num_features = num_features
        self.data_format = data_format
        depths, narrow, wide, f = self.depths, 64 * self.scale, 128 * self.scale, data_format
        if depths[0] == 1:
            # groups of `scale` channels, not one each: so it was published
            second = _conv_block(narrow, narrow, 3, padding=1, groups=64, data_format=f)
        else:
            second = _residual(narrow, depths[0], 128, data_format=f)
        self.layers = nn.LayerList(
            [
                _conv_block(3, narrow, 3, stride=2, padding=1, data_format=f),
                second,
                _depthwise(narrow, narrow, 128, data_format=f),
                _residual(narrow, depths[1], 128, data_format=f),
                _depthwise(narrow, wide, 256, data_format=f),
                _residual(wide, depths[2], 256, data_format=f),
                _depthwise(wide, wide, 512, data_format=f),
                _residual(wide, depths[3], 256, data_format=f),
            ]
        )
        self.conv_sep = _conv_block(wide, FINAL_CHANNELS, data_format=f)
        self.features = Chain(
            _conv_block(
                FINAL_CHANNELS,
                FINAL_CHANNELS,
                FINAL_SIDE,
                groups=FINAL_CHANNELS,
                activation=False,
                data_format="NCHW",
            ),
            nn.Flatten(),
            nn.Linear(
                FINAL_CHANNELS, num_features, weight_attr=_kaiming(num_features), bias_attr=False
            ),
            nn.BatchNorm1D(num_features),
        )

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return features [b, num_features] of images [b, 3, 112, 112]."""
        maps = from_nchw(images, self.data_format)
        for layer in self.layers:
            maps = layer(maps)
        return self.features(to_nchw(self.conv_sep(maps), self.data_format))


@BACKBONES.register
class MobileFaceNet_base(MobileFaceNet):
    """2.06 M parameters and 0.45 GFLOP an image at 512 features."""

    depths, scale = (1, 4, 6, 2), 2


@BACKBONES.register
class MobileFaceNet_large(MobileFaceNet):
    """6.31 M parameters at 512 features; twice as deep and wide as the base."""

    depths, scale = (2, 8, 12, 4), 4
