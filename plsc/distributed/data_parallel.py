"""Replicated network: gradients summed over ranks, communication overlapped with backward."""

import contextlib
import math
from contextlib import AbstractContextManager
from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.autograd import PyLayer

from plsc.distributed import world
from plsc.distributed.collectives import broadcast, reduce_sum
from plsc.nn.nest import map_nest, named_leaves


class _ScaleGradients(PyLayer):
    """All outputs of a network at once: one that a loss leaves out gets a gradient of zeros.

    So every parameter takes part in backward on every rank, whatever a rank's loss makes use of.
    """

    @staticmethod
    def forward(ctx, factor, *outputs):
        ctx.factor = factor
        return tuple(output.clone() for output in outputs)

    @staticmethod
    def backward(ctx, *gradients):
        return tuple(gradient * ctx.factor for gradient in gradients)


class DataParallel:
    """A network whose backward pass *sums* parameter gradients over ranks.

    The loss leaves each rank its summand of the derivative of the one loss of all ranks, so the
    ranks' parameter gradients are summands of the true gradient.

    Attributes:
        layer: the network itself.

    """

    def __init__(self, layer: nn.Layer):
        self.layer = layer
        self._size = world.current().size
        trainable = any(not parameter.stop_gradient for parameter in layer.parameters())
        # Broadcasts rank 0's parameters and buffers, so all ranks start alike.
        self._parallel = paddle.DataParallel(layer) if self._size > 1 and trainable else None

    def __call__(self, inputs: Tensor) -> Any:
        """Return the outputs for this rank's inputs: a tensor, or a nest of tensors."""
        if self._parallel is None:
            return self.layer(inputs)
        # paddle.DataParallel averages over W ranks where the sum is wanted: the factor W stands
        # here and nowhere else.
        outputs = self._parallel(inputs)
        trained = [leaf for _, leaf in named_leaves(outputs, "") if _has_gradient(leaf)]
        scaled = iter(_ScaleGradients.apply(float(self._size), *trained))
        return map_nest(lambda leaf: next(scaled) if _has_gradient(leaf) else leaf, outputs)

    def synchronised(self, synchronise: bool) -> AbstractContextManager:
        """Return a context in which backward sums gradients over ranks or only accumulates them."""
        if synchronise or self._parallel is None:
            return contextlib.nullcontext()
        return self._parallel.no_sync()


def _has_gradient(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and not leaf.stop_gradient


def running_statistics(layer: nn.Layer) -> Tensor | None:
    """Return this rank's own BatchNorm running statistics in a row; None if they are no others'."""
    statistics = _statistics(layer)
    if world.current().size == 1 or not statistics:
        return None
    return paddle.concat([tensor.detach().flatten() for tensor in statistics])


def set_running_statistics(layer: nn.Layer, values: Tensor) -> None:
    """Give BatchNorms the statistics that `running_statistics` has returned."""
    start = 0
    for tensor in _statistics(layer):
        count = math.prod(tensor.shape)
        tensor.set_value(values[start : start + count].reshape(tensor.shape))
        start += count


def average_buffers(layer: nn.Layer) -> None:
    """Give all ranks the mean of their BatchNorm running statistics, in one reduction.

    Each rank's BatchNorm sees its own rows; evaluation and checkpoints need one answer. Running
    statistics are exponential means of batch statistics, so averaging them at any moment equals
    averaging at the end, but for the last bits; training itself never reads them.
    """
    own = running_statistics(layer)
    if own is not None:
        base = broadcast(own)
        mean = base + reduce_sum(own - base) / world.current().size  # exact where ranks agree
        set_running_statistics(layer, mean)


def _statistics(layer: nn.Layer) -> list[Tensor]:
    # Paddle keeps them among the parameters, not the buffers; only their names tell.
    return [
        tensor
        for name, tensor in layer.named_parameters()
        if name.split(".")[-1] in ("_mean", "_variance")
    ]
