"""Other forms of a finished ONNX file: one that takes pixels, one with float16 weights."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plsc.data.transforms.input_pixels import InputPixels
from plsc.errors import UserError
from plsc.files.onnx_file import BATCH, INPUT, OUTPUT, Floats

Layout = Literal["nhwc", "nchw"]
Preprocessing = Literal["none", "nhwc", "nchw"]
SHORTEST = 1e-12  # an embedding of zeros stays zeros
HALF = "/float16"


@dataclass(frozen=True)
class PixelInput:
    """How a file takes uint8 RGB images, and what it makes of them for the backbone.

    Attributes:
        layout: nhwc for [N, height, width, 3], nchw for [N, 3, height, width].
        pixels: the colour order, mean and std that the backbone was trained with.

    """

    layout: Layout
    pixels: InputPixels

    @classmethod
    def of(cls, layout: Layout, metadata: Mapping[str, str]) -> "PixelInput":
        """For a backbone that takes what an export's metadata says."""
        values = {}
        for name in ("mean", "std"):
            numbers = [float(text) for text in metadata[name].split()]
            first, second, third = numbers if len(numbers) == 3 else numbers * 3
            values[name] = (first, second, third)
        return cls(layout, InputPixels(metadata["color_order"], values["mean"], values["std"]))

    def arranged(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB images uint8 [b, 3, h, w] as the file takes them."""
        return images.transpose(0, 2, 3, 1) if self.layout == "nhwc" else images

    def prepared(self, images: NDArray[np.uint8]) -> Floats:
        """RGB images uint8 [b, 3, h, w] as the backbone takes them."""
        mean, std = _per_colour(self.pixels.mean), _per_colour(self.pixels.std)
        if self.pixels.colour_order == "BGR":
            images = images[:, ::-1]
        return np.asarray((images - mean) / std, np.float32)

    def metadata(self) -> dict[str, str]:
        """What is left to do for who uses the file: nothing."""
        mean, std = (
            " ".join(f"{value:.7g}" for value in (values if len(set(values)) > 1 else values[:1]))
            for values in (self.pixels.mean, self.pixels.std)
        )
        return {
            "color_order": "RGB",
            "layout": self.layout.upper(),
            "mean": "0",
            "std": "1",
            "normalisation": (
                f"in the graph: (pixel - {mean}) / {std} in {self.pixels.colour_order}"
            ),
            "input_type": "uint8",
            "embedding_length": "1",
        }


def take_pixels(path: Path, form: PixelInput) -> None:
    """Let the file at `path` take uint8 RGB images and give embeddings of length 1.

    The names of the first nodes begin with Sub and Mul among others: by those insightface sees that
    pixels go in as they are.
    """
    import onnx

    model = onnx.load(str(path))
    graph, make = model.graph, onnx.helper.make_node
    (image,), (embedding,) = graph.input, graph.output
    inner = {INPUT: "pixels/prepared", OUTPUT: "length/any"}
    _rename(graph, inner)
    colours, height, width = (dim.dim_value for dim in image.type.tensor_type.shape.dim[1:])
    shape = (height, width, colours) if form.layout == "nhwc" else (colours, height, width)
    del graph.input[:]
    uint8 = onnx.TensorProto.UINT8
    graph.input.append(onnx.helper.make_tensor_value_info(INPUT, uint8, [BATCH, *shape]))

    before, current = [], INPUT
    if form.layout == "nhwc":  # while a pixel is one byte
        before.append(make("Transpose", [current], ["pixels/nchw"], perm=[0, 3, 1, 2]))
        current = "pixels/nchw"
    if form.pixels.colour_order == "BGR":
        _constant(graph, "pixels/bgr", np.array([2, 1, 0], np.int64))
        before.append(make("Gather", [current, "pixels/bgr"], ["pixels/swapped"], axis=1))
        current = "pixels/swapped"
    _constant(graph, "pixels/mean", _per_colour(form.pixels.mean))
    _constant(graph, "pixels/factor", 1 / _per_colour(form.pixels.std))
    before += [
        make("Cast", [current], ["pixels/float"], to=onnx.TensorProto.FLOAT),
        make("Sub", ["pixels/float", "pixels/mean"], ["pixels/shifted"]),
        make("Mul", ["pixels/shifted", "pixels/factor"], [inner[INPUT]]),
    ]
    _constant(graph, "length/shortest", np.array(SHORTEST, np.float32))
    after = [
        make("ReduceL2", [inner[OUTPUT]], ["length/l2"], axes=[1], keepdims=1),
        make("Max", ["length/l2", "length/shortest"], ["length/divisor"]),
        make("Div", [inner[OUTPUT], "length/divisor"], [embedding.name]),
    ]
    for node in (*before, *after):
        node.name = f"{node.op_type}_{node.output[0]}"
    _set_nodes(graph, [*before, *graph.node, *after])
    _save(model, path)


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
    _set_nodes(graph, nodes)
    _save(model, path)


def _per_colour(values: tuple[float, float, float]) -> Floats:
    return np.array(values, np.float32).reshape(1, 3, 1, 1)


def _rename(graph: Any, names: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in graph.value_info:
        value.name = names.get(value.name, value.name)


def _constant(graph: Any, name: str, value: NDArray[Any]) -> None:
    import onnx

    graph.initializer.append(onnx.numpy_helper.from_array(value, name))


def _set_nodes(graph: Any, nodes: Iterable[Any]) -> None:
    nodes = list(nodes)
    del graph.node[:]
    graph.node.extend(nodes)


def _save(model: Any, path: Path) -> None:
    import onnx

    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
