"""Changes to the graph of an ONNX model in memory."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
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


def fix_flattening(graph: Any) -> None:
    """Give each Reshape that keeps the first axes a constant shape, where it computes that.

    A converter writes flatten as Shape, Slice, Concat and Reshape; OpenCV's dnn computes such a
    shape once and runs at one batch size only. In a constant shape 0 is the axis as it was.
    """
    made_by = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        shape = _kept_and_constant(node, made_by, constants) if node.op_type == "Reshape" else None
        if shape is not None:
            node.input[1] = f"{node.output[0]}/shape"
            add_constant(graph, node.input[1], np.array(shape, np.int64))
    _drop_unused(graph, {"Concat", "Slice", "Shape"})


def _kept_and_constant(
    node: Any, made_by: Mapping[str, Any], constants: Mapping[str, Any]
) -> list[int] | None:
    """Return the shape of a Reshape, 0 for each axis kept; None where it is anything else."""
    from onnx import numpy_helper

    def numbers(name: str) -> list[int] | None:
        tensor = constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor).ravel().tolist()

    joined = made_by.get(node.input[1])
    if joined is None or joined.op_type != "Concat" or any(a.i for a in node.attribute):
        return None
    shape: list[int] = []
    for name in joined.input:
        part, cut = numbers(name), made_by.get(name)
        if part is None and cut is not None and cut.op_type == "Slice" and len(cut.input) >= 4:
            sizes = made_by.get(cut.input[0])
            starts, ends, axes = map(numbers, cut.input[1:4])
            steps = numbers(cut.input[4]) if len(cut.input) > 4 else [1]
            if sizes is None or sizes.op_type != "Shape" or sizes.input[0] != node.input[0]:
                return None
            if starts != [len(shape)] or axes != [0] or steps != [1] or sizes.attribute:
                return None
            part = None if ends is None else [0] * (ends[0] - starts[0])
        if not part or (0 in part and cut is None):
            return None
        shape += part
    return shape if shape.count(-1) <= 1 else None


def _drop_unused(graph: Any, kinds: set[str]) -> None:
    """Leave out nodes of these kinds that nothing uses, and constants that nothing uses then."""
    used = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if node.op_type not in kinds or used.intersection(node.output):
            kept.append(node)
            used.update(node.input)
    set_nodes(graph, reversed(kept))
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)


def save(model: Any, path: Path) -> None:
    """Check the model and write it."""
    import onnx

    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
