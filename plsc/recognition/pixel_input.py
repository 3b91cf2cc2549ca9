"""An ONNX file that takes pixels as they are and gives embeddings of length 1."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from plsc.data.transforms.align import FACE_SHAPE
from plsc.data.transforms.input_pixels import InputPixels
from plsc.export.probes import probe_pixels
from plsc.files import onnx_edit
from plsc.files.onnx_file import BATCH, Arrays

INPUT, OUTPUT = "data", "embedding"  # of recognition's files
Layout = Literal["nhwc", "nchw"]
Preprocessing = Literal["none", "nhwc", "nchw"]
SHORTEST = 1e-12  # an embedding of zeros stays zeros


@dataclass(frozen=True)
class PixelInput:
    """The uint8 RGB images that a file takes, and how it prepares them for the backbone.

    Attributes:
        layout: nhwc for [N, height, width, 3], nchw for [N, 3, height, width].
        pixels: the colour order, mean and std that the backbone was trained with.

    """

    layout: Layout
    pixels: InputPixels

    @classmethod
    def of(cls, layout: Layout, metadata: Mapping[str, str]) -> "PixelInput":
        """Return the form for a backbone that takes what an export's metadata says."""
        values = {}
        for name in ("mean", "std"):
            numbers = [float(text) for text in metadata[name].split()]
            first, second, third = numbers if len(numbers) == 3 else numbers * 3
            values[name] = (first, second, third)
        return cls(layout, InputPixels(metadata["color_order"], values["mean"], values["std"]))

    def probes(self, count: int) -> Arrays:
        """Return the probe images as the backbone takes them."""
        images = probe_pixels(count, FACE_SHAPE)
        mean, std = _per_colour(self.pixels.mean), _per_colour(self.pixels.std)
        if self.pixels.colour_order == "BGR":
            images = images[:, ::-1]
        return {INPUT: np.asarray((images - mean) / std, np.float32)}

    def inputs(self, count: int) -> Arrays:
        """Return the same images as the file takes them."""
        images = probe_pixels(count, FACE_SHAPE)
        return {INPUT: images.transpose(0, 2, 3, 1) if self.layout == "nhwc" else images}

    def outputs(self, arrays: Arrays) -> Arrays:
        """Return the embeddings at length 1."""
        lengths = np.linalg.norm(arrays[OUTPUT], axis=1, keepdims=True)
        return {OUTPUT: arrays[OUTPUT] / np.maximum(lengths, SHORTEST)}

    def metadata(self) -> dict[str, str]:
        """Return what tells users of the file to leave pixels and lengths as they are."""
        inside = self.pixels.metadata()
        return {
            "color_order": "RGB",
            "layout": self.layout.upper(),
            "mean": "0",
            "std": "1",
            "normalisation": (
                f"in the graph: (pixel - {inside['mean']}) / {inside['std']} in "
                f"{inside['color_order']}"
            ),
            "input_type": "uint8",
            "embedding_length": "1",
        }

    def apply(self, path: Path) -> None:
        """Make the file at `path` take uint8 RGB images and give embeddings of length 1.

        The names of the first nodes begin with Sub and Mul among others: by those insightface sees
        that pixels go in as they are.
        """
        import onnx

        model = onnx.load(str(path))
        graph, make = model.graph, onnx.helper.make_node
        (image,), (embedding,) = graph.input, graph.output
        inner = {INPUT: "pixels/prepared", OUTPUT: "length/any"}
        onnx_edit.rename(graph, inner)
        batch, colours, height, width = (dim.dim_value for dim in image.type.tensor_type.shape.dim)
        shape = (height, width, colours) if self.layout == "nhwc" else (colours, height, width)
        del graph.input[:]
        uint8 = onnx.TensorProto.UINT8
        graph.input.append(
            onnx.helper.make_tensor_value_info(INPUT, uint8, [batch or BATCH, *shape])
        )

        before, current = [], INPUT
        if self.layout == "nhwc":  # while a pixel is one byte
            before.append(make("Transpose", [current], ["pixels/nchw"], perm=[0, 3, 1, 2]))
            current = "pixels/nchw"
        if self.pixels.colour_order == "BGR":
            onnx_edit.add_constant(graph, "pixels/bgr", np.array([2, 1, 0], np.int64))
            before.append(make("Gather", [current, "pixels/bgr"], ["pixels/swapped"], axis=1))
            current = "pixels/swapped"
        onnx_edit.add_constant(graph, "pixels/mean", _per_colour(self.pixels.mean))
        onnx_edit.add_constant(graph, "pixels/factor", 1 / _per_colour(self.pixels.std))
        before += [
            make("Cast", [current], ["pixels/float"], to=onnx.TensorProto.FLOAT),
            make("Sub", ["pixels/float", "pixels/mean"], ["pixels/shifted"]),
            make("Mul", ["pixels/shifted", "pixels/factor"], [inner[INPUT]]),
        ]
        onnx_edit.add_constant(graph, "length/shortest", np.array(SHORTEST, np.float32))
        after = [
            make("ReduceL2", [inner[OUTPUT]], ["length/l2"], axes=[1], keepdims=1),
            make("Max", ["length/l2", "length/shortest"], ["length/divisor"]),
            make("Div", [inner[OUTPUT], "length/divisor"], [embedding.name]),
        ]
        for node in (*before, *after):
            node.name = f"{node.op_type}_{node.output[0]}"
        onnx_edit.set_nodes(graph, [*before, *graph.node, *after])
        onnx_edit.save(model, path)


def _per_colour(values: tuple[float, float, float]) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(1, 3, 1, 1)
