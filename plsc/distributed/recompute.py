"""Gradient recomputation: less activation memory for a second forward pass in backward."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from types import MethodType
from typing import Any

import paddle
from paddle import nn
from paddle.distributed.fleet.utils import recompute

from plsc.config.schema import nearest
from plsc.errors import UserError


def apply_recompute(
    backbone: nn.Layer, *, layerlist_interval: int = 1, names: Sequence[str] = ()
) -> int:
    """Make layers of `backbone` forget their activations in forward and redo them in backward.

    Loss, gradients, random numbers and running statistics stay what they were. Of layers that lie
    within one another only the outermost is redone, since doing both saves nothing. In evaluation
    and without gradients the layers run as ever.

    Args:
        backbone: changed in place; once.
        layerlist_interval: of each `nn.LayerList`, the layers 0, k, 2k, ... are redone.
        names: further sublayers, as `named_sublayers` calls them; the name of a `LayerList` means
            all its layers.

    Returns:
        how many layers will be redone.

    Raises:
        UserError: the backbone has no sublayer of that name.

    """
    layers = dict(backbone.named_sublayers())
    for name in names:
        if name not in layers:
            alike = [path for path in layers if path.count(".") == name.count(".")]
            raise UserError(
                f"DistributedStrategy.recompute.names: {type(backbone).__name__} has no layer "
                f"{name!r}{nearest(name, alike)}"
            )
    lists = {path: len(each) for path, each in layers.items() if isinstance(each, nn.LayerList)}
    outermost = recomputed_layers(lists, layerlist_interval, names)
    for path in outermost:
        layer = layers[path]
        assert "forward" not in vars(layer), f"{path} is recomputed already"
        # a bound method, so that a copy of the layer is bound to the copy
        layer.forward = MethodType(_forward_with_recompute, layer)
    return len(outermost)


def recomputed_layers(lists: Mapping[str, int], interval: int, names: Sequence[str]) -> list[str]:
    """Return the paths of the outermost layers that are redone, see `apply_recompute`.

    Args:
        lists: path -> number of layers of each `nn.LayerList`.
        interval: of a list's layers.
        names: further sublayers.

    """
    chosen = {f"{path}.{i}" for path, length in lists.items() for i in range(0, length, interval)}
    for name in names:
        chosen.update([f"{name}.{i}" for i in range(lists[name])] if name in lists else [name])
    return [path for path in chosen if not any(path.startswith(f"{other}.") for other in chosen)]


def _forward_with_recompute(self: nn.Layer, *inputs: Any) -> Any:
    plain_forward = type(self).forward
    differentiable = [
        tensor
        for tensor in (*inputs, *self.parameters())
        if isinstance(tensor, paddle.Tensor) and not tensor.stop_gradient
    ]
    if not (self.training and paddle.is_grad_enabled() and differentiable):
        return plain_forward(self, *inputs)
    runs = 0

    def run(*arguments: Any) -> Any:
        nonlocal runs
        runs += 1
        if runs == 1:
            return plain_forward(self, *arguments[: len(inputs)])
        with _statistics_kept(self):
            return plain_forward(self, *arguments[: len(inputs)])

    # The extra argument is not used: `recompute` warns at every step where no argument needs a
    # gradient, though the layer's parameters may (a layer that reads the images).
    return recompute(run, *inputs, differentiable[0], use_reentrant=False)


@contextlib.contextmanager
def _statistics_kept(layer: nn.Layer) -> Iterator[None]:
    """Undo what the block does to BatchNorm statistics: the first pass has moved them already."""
    # Paddle keeps them among the parameters, marked as not trainable.
    kept = [tensor for tensor in (*layer.parameters(), *layer.buffers()) if tensor.stop_gradient]
    values = [tensor.clone() for tensor in kept]
    yield
    with paddle.no_grad():
        for tensor, value in zip(kept, values, strict=True):
            paddle.assign(value, output=tensor)
