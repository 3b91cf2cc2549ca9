"""IResNet: pre-normalised residual blocks without pooling (arXiv:2004.04989, as in ArcFace)."""

from collections.abc import Sequence

import paddle
from paddle import nn

from plsc.models.cpu_layers import Conv2D, PReLU
from plsc.models.layers import (
    IMAGE_SIZE,
    Backbone,
    DataFormat,
    NumFeatures,
    Rate,
    from_nchw,
    to_nchw,
)
from plsc.registry import BACKBONES

CHANNELS = (64, 128, 256, 512)
FINAL_SIDE = IMAGE_SIZE // 16  # every stage halves the map


def _conv(
    in_channels: int, channels: int, kernel: int, stride: int, data_format: DataFormat
) -> Conv2D:
    return Conv2D(
        in_channels,
        channels,
        kernel,
        stride=stride,
        padding=kernel // 2,
        weight_attr=nn.initializer.Normal(0.0, 0.1),
        data_format=data_format,
    )


class IResNetBlock(nn.Layer):
    """BN, conv 3x3, BN, PReLU, conv 3x3 (strided), BN; no activation after the shortcut joins."""

    def __init__(self, in_channels: int, channels: int, *, stride: int, data_format: DataFormat):
        super().__init__()
        self.bn1 = nn.BatchNorm2D(in_channels, data_format=data_format)
        self.conv1 = _conv(in_channels, channels, 3, 1, data_format)
        self.bn2 = nn.BatchNorm2D(channels, data_format=data_format)
        self.prelu = PReLU(channels, data_format=data_format)
        self.conv2 = _conv(channels, channels, 3, stride, data_format)
        self.bn3 = nn.BatchNorm2D(channels, data_format=data_format)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                _conv(in_channels, channels, 1, stride, data_format),
                nn.BatchNorm2D(channels, data_format=data_format),
            )

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """[b, in, h, w] -> [b, channels, h/stride, w/stride], or the same in NHWC."""
        branch = self.prelu(self.bn2(self.conv1(self.bn1(maps))))
        branch = self.bn3(self.conv2(branch))
        shortcut = maps if self.downsample is None else self.downsample(maps)
        return branch + shortcut


class IResNet(Backbone):
    """Four stages, then BN, dropout, a linear layer and a BatchNorm whose scale stays 1."""

    # A BatchNorm whose weight has stop_gradient=True returns no gradient for its bias, so the
    # weight stays differentiable and is the trainer's to leave alone.
    frozen_names = frozenset({"features.weight"})

    def __init__(
        self,
        depths: Sequence[int],
        *,
        num_features: int,
        dropout: float,
        data_format: DataFormat,
    ):
        super().__init__()
        self.num_features = num_features
        self.data_format = data_format
        self.conv1 = _conv(3, CHANNELS[0], 3, 1, data_format)
        self.bn1 = nn.BatchNorm2D(CHANNELS[0], data_format=data_format)
        self.prelu = PReLU(CHANNELS[0], data_format=data_format)
        widths = zip((CHANNELS[0], *CHANNELS), CHANNELS, depths, strict=False)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.LayerList(
                IResNetBlock(
                    channels if index else in_channels,
                    channels,
                    stride=1 if index else 2,
                    data_format=data_format,
                )
                for index in range(depth)
            )
            for in_channels, channels, depth in widths
        )
        self.bn2 = nn.BatchNorm2D(CHANNELS[-1], data_format=data_format)
        self.dropout = nn.Dropout(dropout)
        # The BatchNorm after it makes the scale of `fc` irrelevant to the output, but a step moves
        # the weights by lr over their squared norm: Xavier's is the one that PLSC's published
        # learning rates were found with (torch's default norm is 2.4 times smaller).
        self.fc = nn.Linear(
            CHANNELS[-1] * FINAL_SIDE**2,
            num_features,
            weight_attr=nn.initializer.XavierUniform(),
            bias_attr=nn.initializer.Constant(0.0),
        )
        self.features = nn.BatchNorm1D(num_features)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """[b, 3, 112, 112] -> [b, num_features]."""
        maps = self.prelu(self.bn1(self.conv1(from_nchw(images, self.data_format))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                maps = block(maps)
        maps = to_nchw(self.bn2(maps), self.data_format)  # [b, 512, 7, 7]
        return self.features(self.fc(self.dropout(maps.flatten(1))))


@BACKBONES.register
def IResNet18(
    num_features: NumFeatures = 512, *, dropout: Rate = 0.0, data_format: DataFormat = "NCHW"
) -> IResNet:
    """24.03 M parameters at 512 features."""
    return IResNet(
        (2, 2, 2, 2), num_features=num_features, dropout=dropout, data_format=data_format
    )


@BACKBONES.register
def IResNet34(
    num_features: NumFeatures = 512, *, dropout: Rate = 0.0, data_format: DataFormat = "NCHW"
) -> IResNet:
    """34.14 M parameters at 512 features."""
    return IResNet(
        (3, 4, 6, 3), num_features=num_features, dropout=dropout, data_format=data_format
    )


@BACKBONES.register
def IResNet50(
    num_features: NumFeatures = 512, *, dropout: Rate = 0.0, data_format: DataFormat = "NCHW"
) -> IResNet:
    """43.59 M parameters at 512 features."""
    return IResNet(
        (3, 4, 14, 3), num_features=num_features, dropout=dropout, data_format=data_format
    )


@BACKBONES.register
def IResNet100(
    num_features: NumFeatures = 512, *, dropout: Rate = 0.0, data_format: DataFormat = "NCHW"
) -> IResNet:
    """65.16 M parameters at 512 features."""
    return IResNet(
        (3, 13, 30, 3), num_features=num_features, dropout=dropout, data_format=data_format
    )


@BACKBONES.register
def IResNet200(
    num_features: NumFeatures = 512, *, dropout: Rate = 0.0, data_format: DataFormat = "NCHW"
) -> IResNet:
    """118.83 M parameters at 512 features."""
    return IResNet(
        (6, 26, 60, 6), num_features=num_features, dropout=dropout, data_format=data_format
    )
