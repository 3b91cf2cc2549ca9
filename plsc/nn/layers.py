"""Layers and types that several backbones share: their contract, the memory format, drop path."""

from typing import Annotated, Literal

import paddle
from paddle import nn

from plsc.config.schema import Range

DataFormat = Literal["NCHW", "NHWC"]
NumFeatures = Annotated[int, Range(1)]
Rate = Annotated[float, Range(0, 1, high_open=True)]


class Backbone(nn.Layer):
    """A network that gives one row of features for each image: [b, 3, h, w] -> [b, num_features].

    Attributes:
        num_features: the embedding's size.
        frozen_names: state-dict keys that a trainer must neither update nor count in a gradient
            norm, though they receive gradients.

    """

    num_features: int
    frozen_names: frozenset[str] = frozenset()


def frozen_names(backbone: nn.Layer) -> frozenset[str]:
    """Return `Backbone.frozen_names`; a layer that is no `Backbone` need not have them."""
    return getattr(backbone, "frozen_names", frozenset())


def from_nchw(images: paddle.Tensor, data_format: DataFormat) -> paddle.Tensor:
    """Return maps [b,c,h,w] in the memory format that the convolutions work in."""
    return images.transpose([0, 2, 3, 1]) if data_format == "NHWC" else images


def to_nchw(maps: paddle.Tensor, data_format: DataFormat) -> paddle.Tensor:
    """Undo `from_nchw`: whatever flattens must see channels first in either format."""
    return maps.transpose([0, 3, 1, 2]) if data_format == "NHWC" else maps


class DropPath(nn.Layer):
    """Zeroes a sample's residual branch with probability `rate`, else divides by 1 - rate.

    Stochastic depth, arXiv:1603.09382; acts in training mode only.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, branch: paddle.Tensor) -> paddle.Tensor:
        """Return [b, ...] with some samples zeroed; shape and dtype stay."""
        if not self.training or self.rate == 0:
            return branch
        keep = 1 - self.rate
        # drawn in float32 whatever the precision: half-precision kernels of rand are not everywhere
        draws = paddle.rand([branch.shape[0]] + [1] * (branch.ndim - 1), dtype="float32")
        return branch * ((draws < keep).astype(branch.dtype) / keep)
