"""RetinaFace (arXiv:1905.00641) as published in PyTorch and MindFace: three levels, two anchors."""

from collections.abc import Callable

import paddle
from paddle import nn
from paddle.nn import functional as F

from plsc.config.registry import DETECTORS
from plsc.detection.anchors import ANCHORS_PER_CELL
from plsc.detection.models.bodies import SHORTCUT, Maps, MobileNet025, ResNet50
from plsc.detection.models.layers import conv_norm, initial, neck_slope

NUM_LEVELS = 3
BOX, SCORE, LANDMARK = "bbox", "score", "landmark"
# Parts of our state-dict keys that MindFace calls otherwise, and what its files have in addition.
MINDFACE_PARTS = {
    "body": "base",
    **SHORTCUT,
    "conv3X3": "conv3x3",
    "conv5X5_1": "conv5x5_1",
    "conv5X5_2": "conv5x5_2",
    "conv7X7_2": "conv7x7_2",
    "ClassHead": "classhead",
    "BboxHead": "bboxhead",
    "LandmarkHead": "landmarkhead",
}
MINDFACE_CLASSIFIERS = ("base.fc.", "base.end_point.")
VALUES = {BOX: 4, SCORE: 2, LANDMARK: 10}  # of an anchor


class FeaturePyramid(nn.Layer):
    """Maps of three strides, each with what the coarser ones have seen (arXiv:1612.03144)."""

    def __init__(self, in_channels: tuple[int, ...], channels: int):
        """Take maps of `in_channels`, give maps of `channels`."""
        super().__init__()
        slope = neck_slope(channels)
        self.output1, self.output2, self.output3 = (
            conv_norm(count, channels, 1, slope=slope) for count in in_channels
        )
        self.merge1 = conv_norm(channels, channels, 3, slope=slope)
        self.merge2 = conv_norm(channels, channels, 3, slope=slope)

    def forward(self, maps: Maps) -> Maps:
        """Return the maps of three levels, the finest first, as they came."""
        fine, middle, coarse = maps
        fine, middle, coarse = self.output1(fine), self.output2(middle), self.output3(coarse)
        middle = self.merge2(middle + _enlarged(coarse, middle))
        fine = self.merge1(fine + _enlarged(middle, fine))
        return [fine, middle, coarse]


class Context(nn.Layer):
    """The context module of SSH (arXiv:1708.03979): 3x3, 5x5 and 7x7 fields of view side by side.

    The keys of its layers, lower case and upper case, are those of the published weights.
    """

    def __init__(self, channels: int):
        """Take and give maps of `channels`."""
        super().__init__()
        slope, quarter = neck_slope(channels), channels // 4
        self.conv3X3 = conv_norm(channels, channels // 2, 3)
        self.conv5X5_1 = conv_norm(channels, quarter, 3, slope=slope)
        self.conv5X5_2 = conv_norm(quarter, quarter, 3)
        self.conv7X7_2 = conv_norm(quarter, quarter, 3, slope=slope)
        self.conv7x7_3 = conv_norm(quarter, quarter, 3)

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """Return maps of the same shape."""
        shared = self.conv5X5_1(maps)
        wide = self.conv7x7_3(self.conv7X7_2(shared))
        return F.relu(paddle.concat([self.conv3X3(maps), self.conv5X5_2(shared), wide], axis=1))


class Head(nn.Layer):
    """Some values of each anchor: maps [b, c, h, w] -> [b, h * w * anchors, values]."""

    def __init__(self, channels: int, values: int):
        """Take maps of `channels`; give `values` of an anchor."""
        super().__init__()
        self.values = values
        bound = channels**-0.5
        self.conv1x1 = nn.Conv2D(
            channels,
            ANCHORS_PER_CELL * values,
            1,
            weight_attr=initial(),
            bias_attr=nn.initializer.Uniform(-bound, bound),
        )

    def forward(self, maps: paddle.Tensor) -> paddle.Tensor:
        """Return the values of all anchors, row by row, the anchors of a cell one by one."""
        out = self.conv1x1(maps).transpose([0, 2, 3, 1])
        return out.reshape([0, -1, self.values])


class RetinaFace(nn.Layer):
    """Tells for each anchor whether a face is there, its box and its five landmarks.

    Attributes:
        body: makes maps of strides 8, 16 and 32.
        mindspore_parts, mindspore_unused: see `plsc.weights.mindspore_weights`.

    """

    mindspore_parts = MINDFACE_PARTS
    mindspore_unused = MINDFACE_CLASSIFIERS

    def __init__(self, body: Callable[[], nn.Layer], channels: int):
        """Make the layers with random weights; `channels` are those of the neck."""
        super().__init__()
        self.body = body()
        self.fpn = FeaturePyramid(self.body.channels, channels)
        self.ssh1, self.ssh2, self.ssh3 = (Context(channels) for _ in range(NUM_LEVELS))
        self.ClassHead, self.BboxHead, self.LandmarkHead = (
            nn.LayerList([Head(channels, VALUES[name]) for _ in range(NUM_LEVELS)])
            for name in (SCORE, BOX, LANDMARK)
        )

    def forward(self, images: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """Return what the network says of the anchors of images [b, 3, h, w].

        Returns:
            bbox [b, a, 4] and landmark [b, a, 10], encoded as `plsc.detection.boxes` says, and
            score [b, a, 2] of background and face: logits in training mode, else probabilities.

        """
        fine, middle, coarse = self.fpn(self.body(images))
        levels = [self.ssh1(fine), self.ssh2(middle), self.ssh3(coarse)]
        outputs = {
            BOX: _joined(self.BboxHead, levels),
            SCORE: _joined(self.ClassHead, levels),
            LANDMARK: _joined(self.LandmarkHead, levels),
        }
        if not self.training:
            outputs[SCORE] = F.softmax(outputs[SCORE], axis=-1)
        return outputs


def _joined(heads: nn.LayerList, levels: Maps) -> paddle.Tensor:
    """Return what `heads` say of the anchors of all levels, each head of its own."""
    return paddle.concat([heads[level](levels[level]) for level in range(NUM_LEVELS)], axis=1)


def _enlarged(maps: paddle.Tensor, like: paddle.Tensor) -> paddle.Tensor:
    """Return `maps` in the size of `like`, each value repeated."""
    return F.interpolate(maps, size=like.shape[2:], mode="nearest")


@DETECTORS.register
def RetinaFace_MobileNet025() -> RetinaFace:
    """Return the small detector: 0.43 M parameters, 0.8 GFLOP for an image of 640x480."""
    return RetinaFace(MobileNet025, 64)


@DETECTORS.register
def RetinaFace_ResNet50() -> RetinaFace:
    """Return the large detector: 27.3 M parameters, 37.6 GFLOP for an image of 640x480."""
    return RetinaFace(ResNet50, 256)
