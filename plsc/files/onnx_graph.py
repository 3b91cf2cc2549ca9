"""The learned operations of an ONNX graph, with their weights, in an order in which they can run.

Exporters differ: weights are initializers, constant nodes or reshaped constants; a bias is an input
or an Add behind; a LayerNorm is one node or ten; a BatchNorm may be gone, multiplied into the
convolution before. Here a graph becomes a list of plain operations that know what they come after.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError, first_line
from plsc.files.mapped_file import open_regular
from plsc.files.onnx_operations import LEARNED, Floats, Operation, attributes_of, name_of

UNCHANGED = {"Identity", "Cast", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze"}
NUMBERS = ("value_float", "value_floats", "value_int", "value_ints")  # of a Constant node
MOST_REASON = 200  # characters of another library's message
DAMAGED = (  # what a node that no exporter writes leads to
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
ARITHMETIC = {"Add", "Sub", "Mul", "Div"}


@dataclass
class Graph:
    """The learned operations of a graph, and its arithmetic with pixels before them.

    Attributes:
        operations: each after those that it needs.
        scale: what the graph multiplies its input with before the first operation, [1] or [3].
        shift: what it adds then.
        swaps: whether it turns the order of the colours round before that.
        metadata: the file's.

    """

    operations: list[Operation] = field(default_factory=list)
    scale: NDArray[np.float64] = field(default_factory=lambda: np.ones(1))
    shift: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    swaps: bool = False
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def prepares(self) -> bool:
        """Tell whether it does anything to pixels before the first operation."""
        return self.swaps or bool(np.any(self.scale != 1) or np.any(self.shift != 0))


def read_graph(path: str) -> Graph:
    """Return the learned operations of the ONNX file at `path`.

    Raises:
        UserError: the file is damaged or not ONNX.

    """
    import onnx

    try:
        os.close(open_regular(path, "ONNX file"))  # onnx would wait for a pipe
        model = onnx.load(path)
        if model.functions:
            from onnx import inliner  # no part of onnx until it is asked for

            model = inliner.inline_local_functions(model)
    except UserError:
        raise
    except Exception as error:  # of protobuf, of onnx or of the file system, with no common base
        said = first_line(error)
        raise UserError(f"{path}: not a sound ONNX file: {said}") from error
    if not model.graph.node:
        raise UserError(f"{path}: not an ONNX file: it has no graph")
    reader = _Reader(model.graph)
    for node in model.graph.node:
        try:
            reader.read(node)
        except DAMAGED as error:
            reason = first_line(error)[:MOST_REASON]
            raise UserError(f"{path}: its node {name_of(node)} is damaged: {reason}") from error
    graph = reader.graph
    graph.metadata = {entry.key: entry.value for entry in model.metadata_props}
    return graph


def read_front(model: Any) -> Graph:
    """Return what an `onnx.ModelProto` does to its input before the first learned operation.

    External data need not be loaded. What cannot be followed ends it as a learned operation does.
    """
    from onnx.checker import ValidationError

    reader = _Reader(model.graph)
    for node in model.graph.node:
        try:
            if not reader.read_preparing(node):
                break
        except (*DAMAGED, OSError, ValidationError):
            break  # damaged, or weights that are not loaded: not for this to say
    return reader.graph


class _Reader:
    """Follows tensors through the nodes."""

    def __init__(self, graph: Any):
        self.graph = Graph()
        self._constants: dict[str, Callable[[], NDArray[Any]]] = {}
        self._vectors: set[str] = set()  # constants of more than one floating-point number
        self._made_by: dict[str, int] = {}  # unchanged output of that operation
        self._after: dict[str, frozenset[int]] = {}
        self._uses = Counter(name for node in graph.node for name in node.input)
        self._uses.update(value.name for value in graph.output)
        for tensor in graph.initializer:
            self._add_constant(tensor.name, tensor)
        # what is scale · input + shift
        self._pixels = {value.name for value in graph.input if value.name not in self._constants}

    def read_preparing(self, node: Any) -> bool:
        """Take in the next node if it is arithmetic with pixels or constants; tell whether."""
        attributes, data = attributes_of(node), self._data(node)
        if not data:
            self._constant(node, attributes)
            return True
        if data[0] not in self._pixels or not self._prepares(node):
            return False
        self._pixels.update(node.output)
        return True

    def _data(self, node: Any) -> list[str]:
        return [name for name in node.input if name and name not in self._constants]

    def _constant(self, node: Any, attributes: Mapping[str, Any]) -> None:
        if node.op_type != "Constant":
            self._fold(node, attributes)
            return
        numbers = [attributes[name] for name in NUMBERS if name in attributes]
        if numbers:
            self._constants[node.output[0]] = lambda: np.atleast_1d(np.asarray(numbers[0]))
        else:
            self._add_constant(node.output[0], attributes.get("value"))

    def read(self, node: Any) -> None:
        """Take in the next node."""
        attributes, data = attributes_of(node), self._data(node)
        if not data:
            self._constant(node, attributes)
            return
        self._follow(node, data)
        constants = [self._array(name) for name in node.input]
        if data[0] in self._pixels and self._prepares(node):
            self._pixels.update(node.output)
        elif node.op_type in LEARNED and len(constants) > 1 and constants[1] is not None:
            kind, arrays = LEARNED[node.op_type](constants, attributes)
            epsilon = float(attributes.get("epsilon", 1e-5))
            self._operation(node, data[0], kind, arrays, epsilon=epsilon)
        else:
            vectors = [
                array
                for name, array in zip(node.input, constants, strict=True)
                if array is not None and name in self._vectors
            ]
            if vectors and not self._is_bias(node, data[0], vectors[0]):
                kind = {"Mul": "scale", "Add": "add"}.get(node.op_type, node.op_type)
                self._operation(node, data[0], kind, {"weight": vectors[0]})

    def _add_constant(self, name: str, tensor: Any) -> None:
        import onnx

        if tensor is None:  # a number or a text: nothing that is learned
            self._constants[name] = lambda: np.zeros(1)
            return
        self._constants[name] = lambda: onnx.numpy_helper.to_array(tensor)
        floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
        if tensor.data_type in floats and np.prod(tensor.dims) > 1:
            self._vectors.add(name)

    def _fold(self, node: Any, attributes: Mapping[str, Any]) -> None:
        """Note a constant of constants: a weight stays one where only its form changes."""
        source = self._constants[node.input[0]] if node.input else lambda: np.zeros(1)
        if node.op_type == "Transpose":
            order = attributes.get("perm")
            self._constants[node.output[0]] = lambda: np.transpose(source(), order)
        else:
            self._constants[node.output[0]] = source
        if node.op_type in UNCHANGED | {"Transpose"} and node.input[0] in self._vectors:
            self._vectors.add(node.output[0])

    def _follow(self, node: Any, data: list[str]) -> None:
        """Note where the node's outputs come from, if it is no learned operation."""
        after = frozenset().union(*(self._after.get(name, frozenset()) for name in data))
        for output in node.output:
            self._after[output] = after
            if node.op_type in UNCHANGED and data[0] in self._made_by:
                self._made_by[output] = self._made_by[data[0]]

    def _array(self, name: str) -> Floats | None:
        return self._constants[name]().astype(np.float32) if name in self._constants else None

    def _operation(
        self,
        node: Any,
        data: str,
        kind: str,
        arrays: Mapping[str, Floats | None],
        *,
        epsilon: float = 0.0,
    ) -> None:
        index, output = len(self.graph.operations), node.output[0]
        given = {name: array for name, array in arrays.items() if array is not None}
        made_by, after = self._made_by.get(data), self._after[output]
        self.graph.operations.append(Operation(kind, name_of(node), given, epsilon, made_by, after))
        self._made_by[output], self._after[output] = index, frozenset({index})

    def _is_bias(self, node: Any, data: str, summand: Floats) -> bool:
        """Tell whether the node adds the bias of the operation before; if so, give it that."""
        made_by = self._made_by.get(data)
        if node.op_type != "Add" or made_by is None or self._uses[data] != 1:
            return False
        before = self.graph.operations[made_by]
        weight = before.arrays["weight"]
        channels = {"conv": weight.shape[0], "linear": weight.shape[-1], "scale": weight.size}
        if channels.get(before.kind) != summand.size or "bias" in before.arrays:
            return False
        before.arrays["bias"] = summand.ravel()
        self._made_by[node.output[0]] = made_by
        return True

    def _prepares(self, node: Any) -> bool:
        """Tell whether the node does no more than arithmetic with pixels; if so, take it in."""
        if node.op_type in UNCHANGED | {"Transpose"}:
            return True
        graph = self.graph
        numbers = [name for name in node.input if name in self._constants]
        if len(numbers) != 1:
            return False
        value = self._constants[numbers[0]]().astype(np.float64).ravel()
        if node.op_type == "Gather" and value.tolist() == [2, 1, 0]:
            graph.swaps = not graph.swaps
            graph.scale, graph.shift = graph.scale[::-1], graph.shift[::-1]
            return True
        if node.op_type not in ARITHMETIC:
            return False
        commutes = node.op_type in ("Add", "Mul")
        if len(value) not in (1, 3) or (numbers[0] == node.input[0] and not commutes):
            return False
        if node.op_type in ("Mul", "Div"):
            factor = value if node.op_type == "Mul" else 1 / value
            graph.scale, graph.shift = graph.scale * factor, graph.shift * factor
        else:
            graph.shift = graph.shift + (value if node.op_type == "Add" else -value)
        return True
