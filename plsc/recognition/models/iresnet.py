"""IResNet: pre-normalised residual blocks without pooling (arXiv:2004.04989, as in ArcFace)."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import paddle
from paddle import nn

from plsc.config.registry import BACKBONES
from plsc.config.schema import Range
from plsc.data.transforms.align import FACE_SIZE
from plsc.nn.cpu_layers import Conv2D, PReLU
from plsc.nn.layers import (
    Backbone,
    DataFormat,
    NumFeatures,
    Rate,
    from_nchw,
    to_nchw,
)

CHANNELS = (64, 128, 256, 512)
FINAL_SIDE = FACE_SIZE // 16  # every stage halves the map
FLAT = CHANNELS[-1] * FINAL_SIDE**2
Init = Literal["normal", "kaiming"]
Epsilon = Annotated[float, Range(0, low_open=True)]


@dataclass(frozen=True)
class _Layers:
    """The options of one network's convolutions and BatchNorms, and functions that make them."""

    data_format: DataFormat
    epsilon: float
    init: Init

    def conv(self, in_channels: int, channels: int, kernel: int, stride: int = 1) -> Conv2D:
        std = 0.1 if self.init == "normal" else math.sqrt(2 / (channels * kernel**2))
        return Conv2D(
            in_channels,
            channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            weight_attr=nn.initializer.Normal(0.0, std),
            data_format=self.data_format,
        )

    def norm(self, channels: int) -> nn.BatchNorm2D:
        return nn.BatchNorm2D(channels, epsilon=self.epsilon, data_format=self.data_format)

    def prelu(self, channels: int) -> PReLU:
        return PReLU(channels, data_format=self.data_format)


class IResNetBlock(nn.Layer):
    """BN, conv 3x3, BN, PReLU, conv 3x3 (strided), BN; no activation after the shortcut joins."""

    def __init__(self, in_channels: int, channels: int, *, stride: int, layers: _Layers):
        super().__init__()
        self.bn1 = layers.norm(in_channels)
        self.conv1 = layers.conv(in_channels, channels, 3)
        self.bn2 = layers.norm(channels)
        self.prelu = layers.prelu(channels)
        self.conv2 = layers.conv(channels, channels, 3, stride)
        self.bn3 = layers.norm(channels)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                layers.conv(in_channels, channels, 1, stride), layers.norm(channels)
            )

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """Return maps [b, channels, h/stride, w/stride] of [b, in, h, w], or the same in NHWC."""
        branch = self.prelu(self.bn2(self.conv1(self.bn1(maps))))
        branch = self.bn3(self.conv2(branch))
        shortcut = maps if self.downsample is None else self.downsample(maps)
        return branch + shortcut


class IResNet(Backbone):
    """Four stages, then BN, dropout, a linear layer and a BatchNorm whose scale stays 1.

    The defaults are PLSC's (and arcface_torch's). MagFace (arXiv:2103.06627) trains with
    `dropout: 0.4, dropout_of: channels, feature_scale: trained, bn_epsilon: 2e-5, conv_init:
    kaiming`.

    Attributes:
        depths: how many blocks each stage has.

    """

    depths: tuple[int, int, int, int]

    def __init__(
        self,
        num_features: NumFeatures = 512,
        *,
        dropout: Rate = 0.0,
        data_format: DataFormat = "NCHW",
        dropout_of: Literal["elements", "channels"] = "elements",
        feature_scale: Literal["fixed", "trained"] = "fixed",
        bn_epsilon: Epsilon = 1e-5,
        conv_init: Init = "normal",
    ):
        """Make the layers with random weights.

        Args:
            num_features: the embedding's size.
            dropout: the share of the last maps [512, 7, 7] that training leaves out.
            data_format: of the maps in memory.
            dropout_of: leave out single elements, or whole channels of 7x7.
            feature_scale: fixed at 1, or trained: then the network can give each feature, and so
                the embeddings' magnitude, a spread of its own.
            bn_epsilon: of every BatchNorm.
            conv_init: normal with standard deviation 0.1, or Kaiming's normal by fan-out.

        """
        super().__init__()
        layers = _Layers(data_format, bn_epsilon, conv_init)
        self.num_features = num_features
        self.data_format = data_format
        if feature_scale == "fixed":
            # A BatchNorm whose weight has stop_gradient=True returns no gradient for its bias, so
            # the weight stays differentiable and is the trainer's to leave alone.
            self.frozen_names = frozenset({"features.weight"})
        self.conv1 = layers.conv(3, CHANNELS[0], 3)
        self.bn1 = layers.norm(CHANNELS[0])
        self.prelu = layers.prelu(CHANNELS[0])
        widths = zip((CHANNELS[0], *CHANNELS), CHANNELS, self.depths, strict=False)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.LayerList(
                IResNetBlock(
                    channels if index else in_channels,
                    channels,
                    stride=1 if index else 2,
                    layers=layers,
                )
                for index in range(depth)
            )
            for in_channels, channels, depth in widths
        )
        self.bn2 = layers.norm(CHANNELS[-1])
        self.dropout = nn.Dropout2D(dropout) if dropout_of == "channels" else nn.Dropout(dropout)
        # The BatchNorm after it makes the scale of `fc` irrelevant to the output, but a step moves
        # the weights by lr over their squared norm: Xavier's is the one that PLSC's published
        # learning rates were found with (torch's default norm is 2.4 times smaller).
        self.fc = nn.Linear(
            FLAT,
            num_features,
            weight_attr=nn.initializer.XavierUniform(),
            bias_attr=nn.initializer.Constant(0.0),
        )
        self.features = nn.BatchNorm1D(num_features, epsilon=bn_epsilon)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return features [b, num_features] of images [b, 3, 112, 112]."""
        maps = self.prelu(self.bn1(self.conv1(from_nchw(images, self.data_format))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                maps = block(maps)
        maps = to_nchw(self.bn2(maps), self.data_format)  # [b, 512, 7, 7]
        return self.features(self.fc(self.dropout(maps).flatten(1)))


@BACKBONES.register
class IResNet18(IResNet):
    """24.03 M parameters at 512 features."""

    depths = (2, 2, 2, 2)


@BACKBONES.register
class IResNet34(IResNet):
    """34.14 M parameters at 512 features."""

    depths = (3, 4, 6, 3)


@BACKBONES.register
class IResNet50(IResNet):
    """43.59 M parameters at 512 features."""

    depths = (3, 4, 14, 3)


@BACKBONES.register
class IResNet100(IResNet):
    """65.16 M parameters at 512 features."""

    depths = (3, 13, 30, 3)


@BACKBONES.register
class IResNet200(IResNet):
    """118.83 M parameters at 512 features."""

    depths = (6, 26, 60, 6)
