"""ONNX files of others: what they do to pixels, and which output is the embedding."""

import numpy as np
import pytest

from plsc.errors import UserError
from plsc.recognition.embedder import Embedder

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
SIDE, DIM = 16, 4


def network(path, front, *, outputs=("embedding",), constant=False):
    """Write images -> `front` (operator, numbers) -> convolution -> mean, as embedding and more."""
    from onnx import TensorProto, helper, numpy_helper

    rng, nodes, weights, last = np.random.default_rng(0), [], [], "data"
    for place, (operator, numbers) in enumerate(front):
        value = np.asarray(numbers, np.float32)
        value = value.reshape(-1, 1, 1) if value.size > 1 else value
        if constant and value.size == 1:
            nodes.append(helper.make_node("Constant", [], [f"c{place}"], value_float=float(value)))
        else:
            weights.append(numpy_helper.from_array(value, f"c{place}"))
        nodes.append(helper.make_node(operator, [last, f"c{place}"], [f"x{place}"]))
        last = f"x{place}"
    kernel = rng.normal(size=(DIM, 3, 3, 3)).astype(np.float32)
    weights.append(numpy_helper.from_array(kernel, "kernel"))
    nodes += [
        helper.make_node("Conv", [last, "kernel"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
        helper.make_node("Neg", ["embedding"], ["other"]),
        helper.make_node("ReduceL2", ["embedding"], ["norm"], axes=[1]),
    ]
    shapes = {"pooled": ["N", DIM, 1, 1], "norm": ["N", 1]}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes.get(name, ["N", DIM]))
            for name in outputs
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return str(path)


IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(
    ("front", "mean", "std"),
    [
        ([("Sub", IMAGENET[0]), ("Div", IMAGENET[1])], 0, 255),
        ([("Sub", 0.5), ("Div", 0.5)], 0, 255),
        ([("Mul", 2.0), ("Sub", 1.0)], 0, 255),
        ([("Mul", 2.0), ("Add", -1.0)], 0, 255),
        ([("Sub", 0.5)], 0, 255),
        ([("Sub", 127.5), ("Mul", 0.0078125)], 0, 1),
        ([("Div", 255.0), ("Sub", IMAGENET[0]), ("Div", IMAGENET[1])], 0, 1),
        ([("Div", 255.0)], 0, 1),
        ([("Sub", [123.7, 116.3, 103.5])], 0, 1),
        ([("Mul", 127.5), ("Add", 127.5)], 127.5, 127.5),
        ([], 127.5, 127.5),
    ],
)
def test_constants_say_which_pixels_a_graph_takes(tmp_path, front, mean, std, constant):
    info = Embedder(network(tmp_path / "net.onnx", front, constant=constant)).info
    assert (info.mean, info.std) == ((mean,) * 3, (std,) * 3)
    assert any("mean and std" in note and "if wrong set" in note for note in info.assumptions)


@pytest.mark.parametrize(
    "outputs", [("embedding", "norm"), ("norm", "embedding"), ("pooled", "norm"), ("pooled",)]
)
def test_the_output_that_is_an_embedding(tmp_path, outputs):
    path = network(tmp_path / "net.onnx", [], outputs=outputs)
    image = np.full((2, SIDE, SIDE, 3), 90, np.uint8)
    expected = Embedder(network(tmp_path / "one.onnx", [])).embed(image)
    np.testing.assert_array_equal(Embedder(path).embed(image), expected)


def test_of_two_embeddings_one_is_named(tmp_path):
    path = network(tmp_path / "net.onnx", [], outputs=("embedding", "other"))
    with pytest.raises(UserError, match="'embedding'.*'other'.*--output NAME"):
        Embedder(path)
    image = np.full((2, SIDE, SIDE, 3), 90, np.uint8)
    one, other = (Embedder(path, output_name=name) for name in ("embedding", "other"))
    np.testing.assert_array_equal(one.embed(image), -other.embed(image))
    assert one.digest != other.digest
    with pytest.raises(UserError, match="no output 'x'"):
        Embedder(path, output_name="x")


def test_a_file_is_known_by_its_content(tmp_path, monkeypatch):
    path = network(tmp_path / "net.onnx", [])
    (tmp_path / "net.bin").write_bytes((tmp_path / "net.onnx").read_bytes())
    monkeypatch.setenv("MODELS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for other in (str(tmp_path / "net.bin"), "~/net.onnx", "$MODELS/net.bin"):
        assert Embedder(other).digest == Embedder(path).digest
    with pytest.raises(UserError, match="variable NONE_SUCH is not set"):
        Embedder("$NONE_SUCH/net.onnx")
