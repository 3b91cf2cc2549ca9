"""Exported files run in OpenCV's dnn at any batch, and may have a fixed one."""

from dataclasses import replace

import cv2
import numpy as np
import paddle
import pytest
from paddle import nn

from plsc.export.convert import export_onnx
from plsc.export.spec import ExportSpec, Input

onnx = pytest.importorskip("onnx")
pytest.importorskip("paddle2onnx")
SHAPE = (3, 8, 8)


class Flattening(nn.Layer):
    """A convolution, and all ways of flattening its maps that networks have."""

    def __init__(self, way):
        super().__init__()
        self.conv, self.linear, self.way = nn.Conv2D(3, 4, 3), nn.Linear(144, 5), way

    def forward(self, images):
        """Return [b, 5]."""
        return self.linear(self.way(self.conv(images)))


WAYS = {
    "flatten": lambda maps: maps.flatten(1),
    "layer": nn.Flatten(),
    "two": lambda maps: maps.flatten(2).flatten(1),
    "reshape": lambda maps: maps.reshape([0, -1]),
    "shape": lambda maps: maps.reshape([maps.shape[0], 144]),
}


def spec():
    def probes(count):
        images = np.random.default_rng(0).normal(size=(count, *SHAPE))
        return {"data": images.astype(np.float32)}

    return ExportSpec({"data": Input((None, *SHAPE), "float32")}, ("embedding",), probes)


@pytest.mark.parametrize("way", WAYS)
def test_opencv_runs_it_at_any_batch(tmp_path, way):
    paddle.seed(0)
    network, path = Flattening(WAYS[way]), tmp_path / "net.onnx"
    export_onnx(network, path, spec())
    kinds = {node.op_type for node in onnx.load(str(path)).graph.node}
    assert not kinds & {"Shape", "Slice", "Concat"}
    images = spec().probes(5)["data"]
    expected = network(paddle.to_tensor(images)).numpy()
    loaded = cv2.dnn.readNetFromONNX(str(path))
    for batch in (1, 5, 2):
        loaded.setInput(images[:batch], "data")
        np.testing.assert_allclose(loaded.forward(), expected[:batch], rtol=1e-4, atol=1e-5)


def test_a_fixed_batch(tmp_path):
    path = tmp_path / "net.onnx"
    report = export_onnx(Flattening(WAYS["flatten"]), path, replace(spec(), fixed_batch=7))
    (given,) = onnx.load(str(path)).graph.input
    assert [dim.dim_value for dim in given.type.tensor_type.shape.dim] == [7, *SHAPE]
    assert "at batch 7" in str(report)
