"""Changes to the graph of an ONNX model in memory."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


def rename(graph: Any, names: Mapping[str, str]) -> None:
    """Rename values that nodes take and give; the graph's inputs and outputs keep theirs."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in graph.value_info:
        value.name = names.get(value.name, value.name)


def add_constant(graph: Any, name: str, value: NDArray[Any]) -> None:
    """Add an initializer."""
    import onnx

    graph.initializer.append(onnx.numpy_helper.from_array(value, name))


def set_nodes(graph: Any, nodes: Iterable[Any]) -> None:
    """Replace all nodes."""
    nodes = list(nodes)
    del graph.node[:]
    graph.node.extend(nodes)


def save(model: Any, path: Path) -> None:
    """Check the model and write it."""
    import onnx

    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
