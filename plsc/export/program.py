"""A network as one of Paddle's programs: its outputs by name, written to files and run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import paddle
from numpy.typing import NDArray
from paddle import nn

from plsc.export.spec import ExportSpec
from plsc.files.onnx_file import Arrays, Run
from plsc.nn.nest import named_leaves


def forward(network: nn.Layer, spec: ExportSpec, inputs: Arrays) -> Any:
    """Return what the network gives for arrays by name."""
    with paddle.no_grad():
        return network(*(paddle.to_tensor(inputs[name]) for name in spec.inputs))


def run_paddle(stem: Path, spec: ExportSpec) -> Run:
    """Return the Paddle inference model at `<stem>.json` as a function of arrays by name."""
    layer = paddle.jit.load(str(stem))
    layer.eval()

    def run(inputs: Arrays) -> dict[str, NDArray[Any]]:
        outputs = named(forward(layer, spec, inputs), spec.outputs)
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    return run


def named(outputs: Any, names: Sequence[str]) -> dict[str, paddle.Tensor]:
    """Return what a network gave by name: a tensor, a dict of them, or a nest of tuples and lists.

    A nest is read leaf by leaf.
    """
    if isinstance(outputs, Mapping):
        assert set(outputs) == set(names), f"outputs {sorted(outputs)}, expected {sorted(names)}"
        return {name: outputs[name] for name in names}
    leaves = [leaf for _, leaf in named_leaves(outputs, "")]
    return dict(zip(names, leaves, strict=True))


class _InOrder(nn.Layer):
    """A network that gives a dict, as one that gives its values in the order of `names`."""

    def __init__(self, network: nn.Layer, names: Sequence[str]):
        super().__init__()
        self.network, self.names, self.training = network, names, network.training

    def forward(self, inputs: Sequence[paddle.Tensor]) -> tuple[paddle.Tensor, ...]:
        """Return the values. One argument, since a program cannot be made of `*inputs`."""
        outputs = self.network(*inputs)
        return tuple(outputs[name] for name in self.names)


def save_program(network: nn.Layer, stem: Path, spec: ExportSpec) -> None:
    """Write `network` in its present mode to `<stem>.json` and `<stem>.pdiparams`."""
    inputs = [
        paddle.static.InputSpec(list(given.shape), given.dtype, name)
        for name, given in spec.inputs.items()
    ]
    if isinstance(forward(network, spec, spec.probes(1)), Mapping):
        # A program would have a dict's values in the order of sorted keys.
        ordered = _InOrder(network, spec.outputs)
        paddle.jit.save(ordered, str(stem), input_spec=[inputs])
    else:
        paddle.jit.save(network, str(stem), input_spec=inputs)
