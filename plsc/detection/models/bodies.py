"""The two backbones of RetinaFace: images -> maps of strides 8, 16 and 32."""

import paddle
from paddle import nn
from paddle.nn import functional as F

from plsc.detection.models.layers import conv_norm, separable
from plsc.nn.cpu_layers import Conv2D

Maps = list[paddle.Tensor]
SLOPE = 0.1  # of MobileNet's activations
SHORTCUT = {"downsample": "down_sample_layer"}  # what MindFace calls a part of ResNet-50


class MobileNet025(nn.Layer):
    """MobileNet (arXiv:1704.04861) with a quarter of the channels: 0.21 M parameters.

    Attributes:
        channels: of the three maps.

    """

    channels = (64, 128, 256)

    def __init__(self):
        """Make the layers with random weights."""
        super().__init__()

        def stage(in_channels: int, channels: int, depth: int) -> list[nn.Sequential]:
            first = separable(in_channels, channels, stride=2, slope=SLOPE)
            others = [
                separable(channels, channels, stride=1, slope=SLOPE) for _ in range(depth - 1)
            ]
            return [first, *others]

        self.stage1 = nn.Sequential(
            conv_norm(3, 8, 3, stride=2, slope=SLOPE),
            separable(8, 16, stride=1, slope=SLOPE),
            *stage(16, 32, 2),
            *stage(32, 64, 2),
        )
        self.stage2 = nn.Sequential(*stage(64, 128, 6))
        self.stage3 = nn.Sequential(*stage(128, 256, 2))

    def forward(self, images: paddle.Tensor) -> Maps:
        """Return maps [b, c, h / s, w / s] of images [b, 3, h, w] for s = 8, 16, 32."""
        maps = []
        for stage in (self.stage1, self.stage2, self.stage3):
            images = stage(images)
            maps.append(images)
        return maps


class Bottleneck(nn.Layer):
    """Convolutions of 1x1, 3x3 (strided) and 1x1 beside a shortcut (arXiv:1512.03385)."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, *, stride: int):
        """Make the layers with random weights; `width` is that of the 3x3 convolution."""
        super().__init__()
        channels = width * self.expansion
        self.conv1, self.bn1 = _conv(in_channels, width, 1), nn.BatchNorm2D(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride), nn.BatchNorm2D(width)
        self.conv3, self.bn3 = _conv(width, channels, 1), nn.BatchNorm2D(channels)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                _conv(in_channels, channels, 1, stride), nn.BatchNorm2D(channels)
            )

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """Return maps [b, 4 * width, h / stride, w / stride] of maps [b, in, h, w]."""
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = F.relu(self.bn1(self.conv1(maps)))
        maps = F.relu(self.bn2(self.conv2(maps)))
        return F.relu(self.bn3(self.conv3(maps)) + shortcut)


class ResNet50(nn.Layer):
    """ResNet-50 (arXiv:1512.03385), stride in the 3x3 convolution: 23.5 M parameters.

    Attributes:
        channels: of the three maps.
        mindspore_parts: see `plsc.weights.mindspore_weights`.

    """

    channels = (512, 1024, 2048)
    mindspore_parts = SHORTCUT

    def __init__(self):
        """Make the layers with random weights."""
        super().__init__()
        self.conv1, self.bn1 = _conv(3, 64, 7, 2), nn.BatchNorm2D(64)
        # Padding 1 on all sides gives ceil(h / 2) rows, as many as anchors expect, whatever h is.
        self.pool = nn.MaxPool2D(3, stride=2, padding=1)
        widths, in_channels, stages = (64, 128, 256, 512), 64, []
        for number, (width, depth) in enumerate(zip(widths, (3, 4, 6, 3), strict=True)):
            blocks = []
            for index in range(depth):
                stride = 2 if number and not index else 1
                blocks.append(Bottleneck(in_channels, width, stride=stride))
                in_channels = width * Bottleneck.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages

    def forward(self, images: paddle.Tensor) -> Maps:
        """Return maps [b, c, h / s, w / s] of images [b, 3, h, w] for s = 8, 16, 32."""
        maps = self.layer1(self.pool(F.relu(self.bn1(self.conv1(images)))))
        found = []
        for stage in (self.layer2, self.layer3, self.layer4):
            maps = stage(maps)
            found.append(maps)
        return found


def _conv(in_channels: int, channels: int, kernel: int, stride: int = 1) -> Conv2D:
    """Return a convolution whose weights begin as MindFace's do, normal with deviation 0.01."""
    return Conv2D(
        in_channels,
        channels,
        kernel,
        stride=stride,
        padding=kernel // 2,
        weight_attr=nn.initializer.Normal(0.0, 0.01),
    )
