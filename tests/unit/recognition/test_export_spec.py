"""Files that take pixels, and files of float16 weights, give what the backbone gives."""

import numpy as np
import onnx
import paddle
import pytest
from filled_nets import SmallNet, embeddings, filled
from onnx import TensorProto, helper, numpy_helper
from onnx_models import images, optimised, outputs, vectors, write_model
from samples import preparing

from plsc.config.load import parse_config
from plsc.config.registry import BACKBONES
from plsc.engine import run
from plsc.errors import UserError
from plsc.export import convert as export
from plsc.files import onnx_edit
from plsc.recognition.embedder import Embedder
from plsc.recognition.export_spec import embedding_spec
from plsc.recognition.pixel_input import PixelInput

MEAN, STD = (120.0, 121.5, 123.25), (58.5, 57.25, 60.0)
TRAINED = {
    "RGB": {},
    "BGR": {
        "color_order": "BGR",
        "mean": " ".join(map(str, MEAN)),
        "std": " ".join(map(str, STD)),
    },
}


pytestmark = pytest.mark.usefixtures("convert_once")


@pytest.fixture(scope="module")
def net():
    net = filled(SmallNet())
    net.eval()
    return net


def write(net, path, *, metadata=None, preprocessing="none", **options):
    spec = embedding_spec(8, metadata=metadata, preprocessing=preprocessing)
    return export.export_onnx(net, path, spec, **options)


def pictures(count, seed=0):
    """RGB uint8 [count, 112, 112, 3]."""
    return np.random.default_rng([count, seed]).integers(0, 256, (count, 112, 112, 3), np.uint8)


def reference(net, rgb, trained, *, unit):
    """The backbone's embeddings of pixels prepared in float64."""
    pixels, mean, std = rgb.astype(np.float64), 127.5, 127.5
    if trained == "BGR":
        pixels, mean, std = pixels[..., ::-1], np.array(MEAN), np.array(STD)
    prepared = ((pixels - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    found = embeddings(net, prepared)
    return found / np.linalg.norm(found, axis=1, keepdims=True) if unit else found


def same(found, expected, tolerance):
    assert found.dtype == np.float32 and found.shape == expected.shape
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("trained", ["RGB", "BGR"])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_pixels_in_embeddings_of_length_1_out(layout, trained, opset, net, tmp_path):
    path, said = tmp_path / "net.onnx", TRAINED[trained]
    report = write(net, path, opset=opset, metadata=said, preprocessing=layout)
    shape = [112, 112, 3] if layout == "nhwc" else [3, 112, 112]
    assert f"input uint8 RGB [N, {', '.join(map(str, shape))}], output [N, 8] of len" in str(report)
    assert [check.batch for check in report.checks] == [1, 5, 64]
    assert max(check.agreement.max_difference for check in report.checks) < 1e-5

    model = onnx.load(str(path))
    (given,), (made,) = model.graph.input, model.graph.output
    dims = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert (given.name, given.type.tensor_type.elem_type, dims) == (
        "data",
        TensorProto.UINT8,
        ["N", *shape],
    )
    assert made.name == "embedding" and {entry.version for entry in model.opset_import} == {opset}
    for count in (1, 5, 64):
        rgb = pictures(count)
        found = outputs(path, rgb if layout == "nhwc" else rgb.transpose(0, 3, 1, 2).copy())
        same(found, reference(net, rgb, trained, unit=True), 1e-5)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("trained", ["RGB", "BGR"])
def test_what_reads_metadata_prepares_nothing_twice(trained, layout, net, tmp_path):
    path = tmp_path / "net.onnx"
    write(net, path, metadata=TRAINED[trained], preprocessing=layout)
    embedder, rgb = Embedder(path, batch_size=2), pictures(3)
    info = embedder.info
    assert (info.colour_order, info.mean, info.std) == ("RGB", (0.0,) * 3, (1.0,) * 3)
    assert not info.assumptions
    expected = reference(net, rgb, trained, unit=True)
    same(embedder.embed(rgb), expected, 1e-5)
    same(embedder.embed(rgb[..., ::-1], colour_order="BGR"), expected, 1e-5)
    said = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert (said["mean"], said["std"], said["layout"]) == ("0", "1", layout.upper())
    inside = (
        "(pixel - 127.5) / 127.5 in RGB"
        if trained == "RGB"
        else "(pixel - 120 121.5 123.25) / 58.5 57.25 60 in BGR"
    )
    assert said["normalisation"] == f"in the graph: {inside}"
    with pytest.raises(UserError, match="takes pixels as uint8 and does the rest itself: leave me"):
        Embedder(path, mean=127.5)


@pytest.mark.parametrize("lost", ["pixels/mean", "pixels/factor", "pixels/bgr"])
def test_lost_preprocessing_is_noticed(lost, net, tmp_path, monkeypatch):
    constant = onnx_edit.add_constant

    def lose(graph, name, value):
        plain = {"pixels/mean": 0, "pixels/factor": 1, "pixels/bgr": np.arange(3)}
        constant(graph, name, value * 0 + plain[name] if name == lost else value)

    monkeypatch.setattr(onnx_edit, "add_constant", lose)
    with pytest.raises(UserError, match="differs from the backbone, nothing was written"):
        write(net, tmp_path / "net.onnx", metadata=TRAINED["BGR"], preprocessing="nhwc")
    assert not list(tmp_path.iterdir())


def test_an_embedding_of_zeros_stays_zeros(tmp_path):
    given, made = images("N", 3, 4, 4), vectors("embedding", "N", 2)
    nodes = [
        helper.make_node("Flatten", ["data"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["embedding"]),
    ]
    weights = {"w": np.zeros((48, 2), np.float32)}
    path = write_model(tmp_path / "zeros.onnx", nodes, given=given, made=made, weights=weights)
    form = PixelInput.of("nchw", {"mean": "127.5", "std": "127.5", "color_order": "RGB"})
    form.apply(path)
    found = outputs(path, np.full((2, 3, 4, 4), 7, np.uint8))
    np.testing.assert_array_equal(found, np.zeros((2, 2)))


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("preprocessing", ["none", "nhwc"])
def test_float16_weights(preprocessing, opset, net, tmp_path):
    paths = {fp16: tmp_path / f"{fp16}.onnx" for fp16 in (False, True)}
    reports = {
        fp16: write(net, path, opset=opset, preprocessing=preprocessing, fp16=fp16)
        for fp16, path in paths.items()
    }
    assert " MB with float16 weights, " in str(reports[True]) and "float16" not in str(
        reports[False]
    )
    assert min(check.agreement.min_cosine for check in reports[True].checks) > 0.99999

    plain, half = (onnx.load(str(paths[fp16])).graph.initializer for fp16 in (False, True))
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in half}
    halved = 0
    for tensor in plain:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim > 1 and array.size > 3:
            found = stored.pop(tensor.name + "/float16")
            assert found.dtype == np.float16
            np.testing.assert_array_equal(found, array.astype(np.float16))
            halved += 1
        else:
            np.testing.assert_array_equal(stored.pop(tensor.name), array)
    assert halved == 2 and not stored  # the kernel and the matrix

    given = pictures(5)
    if preprocessing == "none":
        given = ((given.transpose(0, 3, 1, 2) - 127.5) / 127.5).astype(np.float32)
    found, expected = (outputs(paths[fp16], given) for fp16 in (True, False))
    same(found, expected, 5e-3)
    assert np.abs(found - expected).max() > 0


def test_onnxruntime_makes_float32_of_them_when_it_loads(net, tmp_path):
    write(net, tmp_path / "net.onnx", fp16=True)
    path = optimised(tmp_path / "net.onnx", tmp_path / "optimised.onnx")
    graph = onnx.load(str(path)).graph
    assert "Cast" not in {node.op_type for node in graph.node}


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1e7, r"Export.fp16: a weight of shape \[784, 8\] reaches \S+, float16 ends at 65504: lea"),
        (1e-8, r"opset 17 with float16 weights differs from the backbone, nothing was written; ba"),
    ],
)
def test_weights_beyond_float16_are_refused(factor, said, tmp_path):
    net = filled(SmallNet())
    net.linear.weight.set_value(net.linear.weight * factor)
    net.linear.bias.set_value(net.linear.bias * 0)
    net.features._mean.set_value(net.features._mean * 0)
    net.features.weight.set_value(net.features.weight / factor)
    write(net, tmp_path / "net.onnx")  # float32 holds them
    before = (tmp_path / "net.onnx").read_bytes()
    with pytest.raises(UserError, match=said) as caught:
        write(net, tmp_path / "net.onnx", fp16=True)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_bytes() == before


def test_a_config_asks_for_both(tmp_path, capsys):
    """From weights of a network that was trained on BGR images to a file that takes RGB ones."""
    ops = preparing(to_rgb=False, mean=0.4, std=0.2)
    dataset = {"name": "FaceRecordDataset", "root": "nowhere", "transform_ops": ops}
    config = parse_config(
        {
            "Global": {"pretrained_model": str(tmp_path / "weights"), "device": "cpu"},
            "Model": {"name": "QuickFace_nano", "num_features": 16},
            "DataLoader": {"Train": {"dataset": dataset, "sampler": {"batch_size": 2}}},
            "Export": {"preprocessing": "nhwc", "fp16": True},
        }
    )
    net = BACKBONES.get("QuickFace_nano", "Model.name")(num_features=16)
    net.eval()
    paddle.save(net.state_dict(), str(tmp_path / "weights.pdparams"))
    target = run.export(config, tmp_path / "QuickFace_nano")
    assert "input uint8 RGB [N, 112, 112, 3], output [N, 16] of length 1" in capsys.readouterr().out
    rgb = pictures(2)
    bgr = ((rgb[..., ::-1].astype(np.float64) - 102) / 51).transpose(0, 3, 1, 2)
    expected = embeddings(net, bgr)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = outputs(target, rgb)
    assert (found * expected).sum(axis=1).min() > 0.9999
