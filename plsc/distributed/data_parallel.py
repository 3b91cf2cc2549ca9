"""Replicated backbone: gradients summed over ranks, communication overlapped with backward."""

import contextlib
import math
from contextlib import AbstractContextManager

import paddle
from paddle import Tensor, nn
from paddle.autograd import PyLayer

from plsc.distributed import world
from plsc.distributed.collectives import broadcast, reduce_sum


class _ScaleGradient(PyLayer):
    @staticmethod
    def forward(ctx, tensor, factor):
        ctx.factor = factor
        return tensor.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor


class DataParallel:
    """`images [b,3,h,w] -> features [b,d]` whose backward *sums* parameter gradients over ranks.

    The head hands each rank the exact derivative of the global mean loss with respect to its own
    features, so the ranks' parameter gradients are summands of the true gradient.
    """

    def __init__(self, backbone: nn.Layer):
        self.backbone = backbone
        self._size = world.current().size
        trainable = any(not parameter.stop_gradient for parameter in backbone.parameters())
        # Broadcasts rank 0's parameters and buffers, so all ranks start alike.
        self._parallel = paddle.DataParallel(backbone) if self._size > 1 and trainable else None

    def __call__(self, images: Tensor) -> Tensor:
        """Features of this rank's images."""
        if self._parallel is None:
            return self.backbone(images)
        # paddle.DataParallel averages over W ranks where the sum is wanted: the factor W stands
        # here and nowhere else.
        return _ScaleGradient.apply(self._parallel(images), float(self._size))

    def synchronised(self, synchronise: bool) -> AbstractContextManager:
        """A context in which backward reduces gradients over ranks, or only accumulates them."""
        if synchronise or self._parallel is None:
            return contextlib.nullcontext()
        return self._parallel.no_sync()


def average_buffers(layer: nn.Layer) -> None:
    """Give all ranks the mean of their BatchNorm running statistics, in one reduction.

    Each rank's BatchNorm sees its own rows; evaluation and checkpoints need one answer. Running
    statistics are exponential means of batch statistics, so averaging them at any moment equals
    averaging at the end; training itself never reads them.
    """
    # Paddle keeps them among the parameters, not the buffers; only their names tell.
    statistics = [
        tensor
        for name, tensor in layer.named_parameters()
        if name.split(".")[-1] in ("_mean", "_variance")
    ]
    size = world.current().size
    if size == 1 or not statistics:
        return
    own = paddle.concat([tensor.detach().flatten() for tensor in statistics])
    base = broadcast(own)
    mean = base + reduce_sum(own - base) / size  # exact where the ranks already agree
    start = 0
    for tensor in statistics:
        count = math.prod(tensor.shape)
        tensor.set_value(mean[start : start + count].reshape(tensor.shape))
        start += count
