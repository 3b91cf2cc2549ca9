"""What a backbone computes and what its backward pass keeps, read off one forward pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.autograd import saved_tensors_hooks

from plsc.nn.layers import IMAGE_SIZE
from plsc.recognition.models.face_vit import Attention

FLOAT = 4  # bytes
HALF = 2
# Bytes of a number that a layer keeps under O1. Convolutions and matrix products keep their half
# precision operands and BatchNorm takes what they give; layer_norm and softmax compute in float32,
# and prelu does because its float32 slope widens the half precision input.
O1_BYTES = {"PReLU": FLOAT, "LayerNorm": FLOAT, "Softmax": FLOAT}
CONSTANT = 8192  # vectors up to this length are per-channel statistics, not of an image


@dataclass
class LayerTrace:
    """One layer of the forward pass; all sizes are of one image.

    Attributes:
        path: as `named_sublayers` calls it; "" for what the backbone does itself.
        kind: the layer's class.
        multiply_adds: of its forward pass; twice as many floating-point operations.
        numbers_in: how many numbers it reads.
        numbers_out: how many it gives.
        largest: numbers of the largest tensor that it keeps.
        parameters: its own that are trained, biases and scales too.
        kept: bytes that its backward pass keeps in float32, and that no layer before keeps.
        kept_half: the same under O1.

    """

    path: str
    kind: str
    multiply_adds: int = 0
    numbers_in: int = 0
    numbers_out: int = 0
    largest: int = 0
    parameters: int = 0
    kept: int = 0
    kept_half: int = 0


@dataclass(frozen=True)
class Trace:
    """A backbone: its layers in the order in which they run, and what it holds.

    Attributes:
        layers: those that compute.
        groups: the layers of every `nn.LayerList` by path, and every sublayer, with the bytes of
            their input: (float32, O1). What recomputing can begin from.
        lists: path -> number of layers of each `nn.LayerList`.
        parameters: that are trained.
        statistics: numbers that are held and not trained.

    """

    layers: tuple[LayerTrace, ...]
    groups: dict[str, tuple[int, int]]
    lists: dict[str, int]
    parameters: int
    statistics: int
    num_features: int

    @property
    def multiply_adds(self) -> int:
        """Of the forward pass of one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    def kept(self, *, half: bool) -> int:
        """Bytes that the backward pass of one image needs of the forward pass."""
        return sum(layer.kept_half if half else layer.kept for layer in self.layers)


def trace(backbone: nn.Layer) -> Trace:
    """Run `backbone` on one image in training mode and note what autograd keeps, layer by layer.

    Tensors that two operations keep count once. Nothing stays changed: running statistics, random
    numbers and training mode are put back, layers set to be recomputed run as if they were not.
    """
    recorder = _Recorder(backbone)
    with _put_back(backbone), recorder.watching():
        backbone.train()
        backbone(paddle.zeros([1, 3, IMAGE_SIZE, IMAGE_SIZE]))
    trained = [item.size for item in backbone.parameters() if not item.stop_gradient]
    held = [item.size for item in (*backbone.parameters(), *backbone.buffers())]
    return Trace(
        tuple(recorder.layers.values()),
        recorder.groups,
        {path: len(x) for path, x in backbone.named_sublayers() if isinstance(x, nn.LayerList)},
        sum(trained),
        sum(held) - sum(trained),
        backbone.num_features,
    )


class _Recorder:
    """Watches one forward pass."""

    def __init__(self, backbone: nn.Layer):
        self._named = [("", backbone), *backbone.named_sublayers()]
        own = [*backbone.parameters(), *backbone.buffers()]
        self._own = {tensor.data_ptr() for tensor in own}
        self._running: list[tuple[str, nn.Layer]] = []
        self._seen: dict[tuple[int, int], Tensor] = {}  # held, so that no address comes twice
        self.layers: dict[str, LayerTrace] = {}
        self.groups: dict[str, tuple[int, int]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what layers and autograd do inside."""
        hooks = []
        for path, layer in self._named:
            hooks.append(layer.register_forward_pre_hook(self._enter(path)))
            hooks.append(layer.register_forward_post_hook(self._leave))
        try:
            with saved_tensors_hooks(self._keep, lambda nothing: nothing):
                yield
        finally:
            for hook in hooks:
                hook.remove()
            self._seen.clear()  # else tensors, graph and this hold each other for ever

    def _enter(self, path: str) -> Callable[[nn.Layer, Any], None]:
        def enter(layer: nn.Layer, inputs: tuple[Tensor, ...]) -> None:
            self._running.append((path, layer))
            size = inputs[0].size
            self.groups[path] = (size * FLOAT, size * _group_bytes(layer))

        return enter

    def _leave(self, layer: nn.Layer, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        path, _ = self._running.pop()
        own = [p for p in layer.parameters(include_sublayers=False) if not p.stop_gradient]
        work = _multiply_adds(layer, inputs[0], output)
        if path not in self.layers and not (own or work):
            return
        record = self._record(path, layer)
        record.multiply_adds += work
        record.numbers_in, record.numbers_out = inputs[0].size, output.size
        record.parameters = sum(item.size for item in own)

    def _record(self, path: str, layer: nn.Layer) -> LayerTrace:
        return self.layers.setdefault(path, LayerTrace(path, type(layer).__name__))

    def _keep(self, tensor: Tensor) -> None:
        # Nothing is returned: Paddle never lets go of what such a hook returns.
        address = tensor.data_ptr()
        statistic = tensor.ndim <= 1 and tensor.size <= CONSTANT
        if address in self._own or statistic:
            return
        path, layer = self._running[-1]
        record = self._record(path, layer)
        width = tensor.element_size()
        record.largest = max(record.largest, tensor.size)
        if (address, 0) not in self._seen:
            self._seen[address, 0] = tensor
            record.kept += tensor.size * width
        for half in _half_widths(layer, tensor):
            half = min(half, width)
            if (address, half) not in self._seen:
                self._seen[address, half] = tensor
                record.kept_half += tensor.size * half


def _half_widths(layer: nn.Layer, tensor: Tensor) -> tuple[int, ...]:
    if isinstance(layer, Attention) and tensor.ndim >= 2 and _square(tensor):
        # softmax keeps its output in float32, the product after it a half precision copy
        return (O1_BYTES["Softmax"], HALF)
    return (O1_BYTES.get(type(layer).__name__, HALF),)


def _square(tensor: Tensor) -> bool:
    return tensor.shape[-1] == tensor.shape[-2]


def _group_bytes(layer: nn.Layer) -> int:
    """Bytes of a number that goes into `layer` under O1: what its first layer with a rule keeps."""
    for inner in (layer, *layer.sublayers()):
        if not inner.sublayers() and list(inner.parameters()):
            return O1_BYTES.get(type(inner).__name__, HALF)
    return HALF


def _multiply_adds(layer: nn.Layer, images: Tensor, output: Tensor) -> int:
    if isinstance(layer, Attention):
        num_tokens = images.shape[1]  # queries times keys, and weights times values
        return 2 * num_tokens * images.size
    weight = getattr(layer, "weight", None)
    if weight is None or weight.ndim not in (2, 4):
        return 0
    if weight.ndim == 4:  # [out, in/groups, h, w]: each output is a sum over the others
        return output.size * (weight.size // weight.shape[0])
    return output.size * weight.shape[0]  # [in, out]


@contextmanager
def _put_back(backbone: nn.Layer) -> Iterator[None]:
    """Let everything that a forward pass in training mode changes be as it was."""
    layers = [backbone, *backbone.sublayers()]
    modes = [layer.training for layer in layers]
    replaced = [(x, vars(x).pop("forward")) for x in layers if "forward" in vars(x)]
    kept = [item for item in (*backbone.parameters(), *backbone.buffers()) if item.stop_gradient]
    values = [item.clone() for item in kept]
    random = paddle.get_rng_state()
    try:
        yield
    finally:
        with paddle.no_grad():
            for item, value in zip(kept, values, strict=True):
                paddle.assign(value, output=item)
        for layer, training in zip(layers, modes, strict=True):
            layer.training = training
        for layer, forward in replaced:
            layer.forward = forward
        paddle.set_rng_state(random)
