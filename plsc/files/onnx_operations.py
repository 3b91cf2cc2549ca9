"""Learned operations as ONNX writes them, and as plain ones with their weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass
class Operation:
    """One learned operation.

    Attributes:
        kind: conv, linear, norm, prelu, layer_norm; scale (a factor per channel, what is left of a
            normalisation) and add (a learned summand); of anything else with weights, ONNX's name.
        name: of its node, for messages.
        arrays: weight, bias, mean, variance, as the kind has them; a linear weight is [in, out].
        epsilon: of a norm.
        input: index of the operation whose output comes in unchanged, None if there is none.
        after: indices of the operations whose output arrives without a learned one between.

    """

    kind: str
    name: str
    arrays: dict[str, Floats]
    epsilon: float
    input: int | None
    after: frozenset[int]

    def __str__(self) -> str:
        """Return kind, weight's shape and name."""
        return f"{self.kind} {list(self.arrays['weight'].shape)} ({self.name})"


Arrays = list[Floats | None]
Learned = tuple[str, dict[str, Floats | None]]


def _as_given(kind: str, *names: str) -> Callable[[Arrays, Mapping[str, Any]], Learned]:
    """Return what reads an operation whose constants, behind its input, are as `names` say."""

    def read(constants: Arrays, attributes: Mapping[str, Any]) -> Learned:
        return kind, dict(zip(names, constants[1:], strict=False))

    return read


def _batch_norm(constants: Arrays, attributes: Mapping[str, Any]) -> Learned:
    _, weight, bias, mean, variance = constants
    return "norm", {"weight": weight, "bias": bias, "mean": mean, "variance": variance}


def _prelu(constants: Arrays, attributes: Mapping[str, Any]) -> Learned:
    assert constants[1] is not None
    return "prelu", {"weight": constants[1].ravel()}


def _gemm(constants: Arrays, attributes: Mapping[str, Any]) -> Learned:
    _, weight, bias, *_ = (*constants, None)
    assert weight is not None
    weight = weight.T if attributes.get("transB", 0) else weight
    weight = weight * np.float32(attributes.get("alpha", 1.0))
    if bias is not None:
        bias = bias.ravel() * np.float32(attributes.get("beta", 1.0))
        bias = np.broadcast_to(bias, weight.shape[1:])
    return "linear", {"weight": weight, "bias": bias}


LEARNED: dict[str, Callable[[Arrays, Mapping[str, Any]], Learned]] = {
    "Conv": _as_given("conv", "weight", "bias"),
    "BatchNormalization": _batch_norm,
    "PRelu": _prelu,
    "LayerNormalization": _as_given("layer_norm", "weight", "bias"),
    "Gemm": _gemm,
    "MatMul": _as_given("linear", "weight"),
}


def attributes_of(node: Any) -> dict[str, Any]:
    """Return the node's attributes as Python values."""
    import onnx

    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def name_of(node: Any) -> str:
    """Return what to call the node in a message."""
    return str(node.name or (node.output[0] if node.output else node.op_type))
