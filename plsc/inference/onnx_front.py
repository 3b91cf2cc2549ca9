"""Read from its constants what an ONNX graph does to pixels before its first learned layer."""

import importlib.util
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from plsc.errors import UserError, first_line
from plsc.files.onnx_graph import Graph, read_front

FRONT = 8  # nodes in which insightface looks for preprocessing
LEARNED = {"Conv", "MatMul", "Gemm", "BatchNormalization"}
SHIFTS = {"ops": {"Sub", "Add"}, "names": ("Sub", "_minus")}
SCALES = {"ops": {"Mul", "Div"}, "names": ("Mul", "_mul", "Div")}
UNIT = 1.001  # a mean of pixels from 0 to 1 is at most this
MOST_UNIT_STD = 2.0


@dataclass(frozen=True)
class Front:
    """Says that a graph is fed pixel / divisor; `said` is why, "" if it does not say."""

    said: str = ""
    divisor: float = 1.0


def read_pixels_front(path: str) -> Front:
    """Return how the graph shows that it prepares pixels itself.

    insightface takes a model for one that does where a Sub and a Mul are among its first nodes, by
    their names. Here their operators count, too, and only what comes before the first learned layer
    does: a LayerNorm taken apart has such nodes as well. Their constants say what they are for:
    mean 0.485 and std 0.229 are those of pixels from 0 to 1, 127.5 of pixels from 0 to 255.

    Raises:
        UserError: the package onnx is missing.

    """
    if importlib.util.find_spec("onnx") is None:
        raise UserError(
            f"{path}: was not made by plsc, and to see whether it prepares pixels itself needs "
            "onnx: pip install onnx"
        )
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # of protobuf or of onnx, with no common base
        raise UserError(f"{path}: not a sound ONNX file: {first_line(error)}") from error
    found = _by_constants(read_front(model))
    return found if found is not None else Front(_by_names(model.graph.node))


def _by_constants(graph: Graph) -> Front | None:
    """Return what the constants say; None where they leave it open."""
    scale, shift = np.broadcast_arrays(graph.scale, graph.shift)
    if not (np.any(scale != 1) or np.any(shift != 0)) or not np.all(scale):
        return None
    mean, std = -shift / scale, 1 / np.abs(scale)
    if np.any(mean < 0) or np.any(scale < 0):
        return Front()  # it undoes a normalisation rather than doing one
    said = f"its graph begins with (x - {_listed(mean)}) / {_listed(std)}"
    if np.all(mean <= UNIT) and np.all(std <= MOST_UNIT_STD):
        return Front(f"{said}, of pixels from 0 to 1", 255.0)
    return Front(f"{said}, of pixels from 0 to 255")


def _listed(values: Any) -> str:
    texts = [f"{value:.4g}" for value in np.ravel(values)]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"


def _by_names(nodes: Any) -> str:
    working = (node for node in nodes if node.op_type != "Constant")
    front = list(
        itertools.takewhile(
            lambda node: node.op_type not in LEARNED, itertools.islice(working, FRONT)
        )
    )
    found = [
        next((node.op_type for node in front if _is_one(node, kinds)), None)
        for kinds in (SHIFTS, SCALES)
    ]
    return f"its graph begins with {found[0]} and {found[1]}" if all(found) else ""


def _is_one(node: Any, kinds: dict[str, Any]) -> bool:
    return node.op_type in kinds["ops"] or node.name.startswith(kinds["names"])
