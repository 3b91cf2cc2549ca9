"""A small residual network for CPUs: trains in minutes on two cores, for trials and tests."""

import paddle
from paddle import nn
from paddle.nn import functional as F

from plsc.config.registry import BACKBONES
from plsc.data.transforms.align import FACE_SIZE
from plsc.nn.cpu_layers import Conv2D
from plsc.nn.layers import Backbone, NumFeatures

STEM_STRIDE = 4


def _conv_norm(in_channels: int, channels: int, kernel: int = 3, *, stride: int = 1) -> nn.Layer:
    return nn.Sequential(
        Conv2D(in_channels, channels, kernel, stride=stride, padding=kernel // 2),
        nn.BatchNorm2D(channels),
    )


class Stage(nn.Layer):
    """Halve the maps, then one residual block."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.down = _conv_norm(in_channels, channels, stride=2)
        self.first = _conv_norm(channels, channels)
        self.second = _conv_norm(channels, channels)

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """Return maps [b, out, h/2, w/2] of maps [b, in, h, w]."""
        maps = F.relu(self.down(maps))
        return F.relu(maps + self.second(F.relu(self.first(maps))))


class QuickFace(Backbone):
    """Stem of stride 4, stages of stride 2, one linear layer over all positions.

    Only what is fast on CPUs: few pixels, plain 3x3 convolutions and ReLU; PReLU and depthwise
    convolutions take most of the published networks' time there. The last layer sees every
    position on its own, as in IResNet: pooling would lose where on the aligned face a map lights.
    """

    def __init__(self, channels: tuple[int, ...], *, num_features: int):
        super().__init__()
        self.num_features = num_features
        self.stem = _conv_norm(3, channels[0], 7, stride=STEM_STRIDE)
        self.stages = nn.Sequential(
            *(Stage(before, after) for before, after in zip(channels, channels[1:], strict=False))
        )
        side = FACE_SIZE // (STEM_STRIDE * 2 ** (len(channels) - 1))
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels[-1] * side * side, num_features, bias_attr=False)
        self.features = nn.BatchNorm1D(num_features)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Return features [b, num_features] of images [b, 3, 112, 112]."""
        maps = self.stages(F.relu(self.stem(images)))
        return self.features(self.fc(self.flatten(maps)))


@BACKBONES.register
def QuickFace_nano(num_features: NumFeatures = 512) -> QuickFace:
    """Return a network of 0.87 M parameters, 0.024 GFLOP an image at 128 features; unpublished."""
    return QuickFace((24, 48, 96), num_features=num_features)
