"""Record what the backward pass of a network keeps, by watching one forward pass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.autograd import saved_tensors_hooks

from plsc.errors import UserError

FLOAT = 4  # bytes
HALF = 2
# Bytes of a number that a layer keeps under O1. Convolutions and matrix products keep their half
# precision operands and BatchNorm takes what they give; layer_norm and softmax compute in float32,
# and prelu does because its float32 slope widens the half precision input. A layer class that keeps
# something else says so with a method `half_precision_widths(kept)`: the bytes of a number in each
# copy of that tensor.
O1_BYTES = {"PReLU": FLOAT, "LayerNorm": FLOAT, "Softmax": FLOAT}
CONSTANT = 8192  # vectors up to this length are per-channel statistics, not of a sample


@dataclass
class LayerTrace:
    """One layer of the forward pass; all sizes are of one sample.

    Attributes:
        path: as `named_sublayers` calls it; "" for what the network does itself.
        kind: the layer's class.
        numbers_in: how many numbers it reads.
        numbers_out: how many it gives.
        largest: numbers of the largest tensor that it keeps.
        parameters: its own that are trained, biases and scales too.
        kept: bytes that its backward pass keeps in float32, and that no layer before keeps.
        kept_half: the same under O1.

    """

    path: str
    kind: str
    numbers_in: int = 0
    numbers_out: int = 0
    largest: int = 0
    parameters: int = 0
    kept: int = 0
    kept_half: int = 0


@dataclass(frozen=True)
class NetworkTrace:
    """A network: its layers in the order in which they run, and what it holds.

    Attributes:
        layers: those that compute.
        groups: the layers of every `nn.LayerList` by path, and every sublayer, with the bytes of
            their input: (float32, O1). What recomputing can begin from.
        lists: path -> number of layers of each `nn.LayerList`.
        parameters: that are trained.
        statistics: numbers that are held and not trained.

    """

    layers: tuple[LayerTrace, ...] = ()
    groups: dict[str, tuple[int, int]] = field(default_factory=dict)
    lists: dict[str, int] = field(default_factory=dict)
    parameters: int = 0
    statistics: int = 0


def trace_network(network: nn.Layer, inputs: Sequence[Tensor]) -> NetworkTrace:
    """Run `network` in training mode and note what autograd keeps, layer by layer.

    Tensors that two operations keep count once. Nothing stays changed: running statistics, random
    numbers and training mode are put back, layers set to be recomputed run as if they were not.

    Args:
        network: any.
        inputs: of one sample, as the network takes them.

    Raises:
        UserError: the network does not run on them, or not where it is watched.

    """
    try:
        recorder = _Recorder(network)
        with _put_back(network), recorder.watching():
            network.train()
            network(*inputs)
    except Exception as error:
        raise UserError(f"{type(network).__name__} cannot be traced: {error!r}") from error
    trained = [item.size for item in network.parameters() if not item.stop_gradient]
    held = [item.size for item in (*network.parameters(), *network.buffers())]
    return NetworkTrace(
        tuple(recorder.layers.values()),
        recorder.groups,
        {path: len(x) for path, x in network.named_sublayers() if isinstance(x, nn.LayerList)},
        sum(trained),
        sum(held) - sum(trained),
    )


class _Recorder:
    """Watch one forward pass."""

    def __init__(self, network: nn.Layer):
        self._named = [("", network), *network.named_sublayers()]
        own = [*network.parameters(), *network.buffers()]
        self._own = {_address(tensor) for tensor in own}
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
        def enter(layer: nn.Layer, inputs: tuple[Any, ...]) -> None:
            self._running.append((path, layer))
            size = _numbers(inputs[:1])
            self.groups[path] = (size * FLOAT, size * _group_bytes(layer))

        return enter

    def _leave(self, layer: nn.Layer, inputs: tuple[Any, ...], output: Any) -> None:
        path, _ = self._running.pop()
        own = layer.parameters(include_sublayers=False)
        if path not in self.layers and not own:
            return
        record = self._record(path, layer)
        record.numbers_in, record.numbers_out = _numbers(inputs[:1]), _numbers(output)
        record.parameters = sum(item.size for item in own if not item.stop_gradient)

    def _record(self, path: str, layer: nn.Layer) -> LayerTrace:
        return self.layers.setdefault(path, LayerTrace(path, type(layer).__name__))

    def _keep(self, tensor: Tensor) -> None:
        # Nothing is returned: Paddle never lets go of what such a hook returns.
        address = _address(tensor)
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


def _address(tensor: Tensor) -> int:
    """Return where its numbers lie; 0 for one without, such as nn.LSTM has on a CPU."""
    try:
        return tensor.data_ptr()
    except RuntimeError:
        return 0


def _half_widths(layer: nn.Layer, kept: Tensor) -> tuple[int, ...]:
    own_rule = getattr(layer, "half_precision_widths", None)
    return own_rule(kept) if own_rule else (O1_BYTES.get(type(layer).__name__, HALF),)


def _numbers(nest: Any) -> int:
    """Return how many numbers the tensors in a tensor, tuple, list or dict hold together."""
    if isinstance(nest, Tensor):
        return nest.size
    if isinstance(nest, dict):
        nest = nest.values()
    elif not isinstance(nest, tuple | list):
        return 0
    return sum(_numbers(item) for item in nest)


def _group_bytes(layer: nn.Layer) -> int:
    """Return the bytes of a number that goes into `layer` under O1, as its first layer keeps it."""
    for inner in (layer, *layer.sublayers()):
        if not inner.sublayers() and list(inner.parameters()):
            return O1_BYTES.get(type(inner).__name__, HALF)
    return HALF


@contextmanager
def _put_back(network: nn.Layer) -> Iterator[None]:
    """Let everything that a forward pass in training mode changes be as it was."""
    layers = [network, *network.sublayers()]
    modes = [layer.training for layer in layers]
    replaced = [(x, vars(x).pop("forward")) for x in layers if "forward" in vars(x)]
    held = [*network.parameters(), *network.buffers()]
    kept = [item for item in held if item.stop_gradient and _address(item)]
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
