"""Small ONNX models that tests put together."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper


def images(*shape: object, kind: int = TensorProto.FLOAT, name: str = "data"):
    """Return an input of images; [N, 3, 112, 112] unless a shape is given."""
    return helper.make_tensor_value_info(name, kind, shape or ("N", 3, 112, 112))


def vectors(name: str, *shape: object):
    """Return an input or output of float32."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def write_model(
    path: Path,
    nodes: Sequence[NodeProto],
    *,
    given,
    made,
    weights: dict[str, np.ndarray] | None = None,
    opset: int = 13,
    **properties: str,
) -> Path:
    """Write a graph with these weights; `properties` are what it says of itself."""
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "net", [given], [made], tensors)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    helper.set_model_props(model, properties)
    onnx.save(model, str(path))
    return path


def convolution(path: Path, *, batch: object = "N", **properties: str) -> Path:
    """Write a small network of a kind that others export: one convolution, [N, 64]."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["maps"], strides=[28, 28]),
        helper.make_node("Flatten", ["maps"], ["e"]),
    ]
    weights = np.random.default_rng(0).normal(size=(4, 3, 28, 28)).astype(np.float32) / 50
    given, made = images(batch, 3, 112, 112, name="x"), vectors("e", batch, 64)
    return write_model(path, nodes, given=given, made=made, weights={"w": weights}, **properties)


def told(source: Path, target: Path, **properties: str) -> Path:
    """Write a model that says these things of itself, instead of what `source` says."""
    model = onnx.load(str(source))
    helper.set_model_props(model, properties)
    onnx.save(model, str(target))
    return target


def outputs(path: Path, given: np.ndarray) -> np.ndarray:
    """Return what ONNX Runtime gives for a model's one input."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: given})[0]


def optimised(source: Path, target: Path) -> Path:
    """Write what ONNX Runtime makes of a model: BatchNorms multiplied into the layers before."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    return target
