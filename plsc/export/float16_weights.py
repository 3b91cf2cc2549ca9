"""Weights of a finished ONNX file as float16."""

from pathlib import Path
from typing import Any

import numpy as np

from plsc.errors import UserError
from plsc.files import onnx_edit

HALF = "/float16"


def halve_weights(path: Path) -> None:
    """Store kernels and matrices of the file at `path` as float16; it computes in float32 as ever.

    Scales, biases and statistics stay float32: they are few, and a variance may be too small.

    Raises:
        UserError: a weight is beyond float16.

    """
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    casts = {}
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or sum(dim > 1 for dim in tensor.dims) < 2:
            continue
        name, weight = tensor.name, onnx.numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = weight.astype(np.float16)
        if np.isinf(half).any():
            raise UserError(
                f"Export.fp16: a weight of shape {list(weight.shape)} reaches "
                f"{np.abs(weight).max():.5g}, float16 ends at 65504: leave Export.fp16 out"
            )
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, name + HALF))
        cast = onnx.helper.make_node("Cast", [name + HALF], [name], to=onnx.TensorProto.FLOAT)
        cast.name = f"Cast_{name}"
        casts[name] = cast
    nodes: list[Any] = []
    for node in graph.node:  # not all in front, where tools look for preprocessing
        nodes += [casts.pop(name) for name in dict.fromkeys(node.input) if name in casts]
        nodes.append(node)
    onnx_edit.set_nodes(graph, nodes)
    onnx_edit.save(model, path)
