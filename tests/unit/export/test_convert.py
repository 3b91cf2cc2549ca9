"""Export: the file is the backbone, at any batch size, and one that is not never stays."""

import subprocess
import sys

import numpy as np
import onnx
import paddle
import pytest
import yaml
from filled_nets import SmallNet, embeddings, filled
from paddle import nn

from plsc import __version__
from plsc.errors import UserError
from plsc.export import convert as export
from plsc.files import onnx_file
from plsc.recognition.export_spec import EmbeddingAgreement, embedding_spec, probe_images

SPEC = embedding_spec(8)
pytestmark = pytest.mark.usefixtures("convert_once")


@pytest.fixture(scope="module")
def net():
    paddle.seed(0)
    return filled(SmallNet())


@pytest.fixture(scope="module")
def exported(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    return path, export.export_onnx(
        net, path, embedding_spec(8, metadata={"source": "output/Net/latest"})
    )


def test_names_shapes_and_metadata(exported):
    path, report = exported
    model = onnx.load(str(path))
    (given,), (made,) = model.graph.input, model.graph.output
    shapes = [
        [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (given, made)
    ]
    assert (given.name, made.name) == ("data", "embedding")
    assert shapes == [["N", 3, 112, 112], ["N", 8]]
    assert (
        given.type.tensor_type.elem_type
        == made.type.tensor_type.elem_type
        == onnx.TensorProto.FLOAT
    )
    assert {entry.version for entry in model.opset_import} == {17}
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["source"] == "output/Net/latest" and said["color_order"] == "RGB"
    assert (said["mean"], said["std"], said["input_size"]) == ("127.5", "127.5", "112x112")
    assert said["embedding_size"] == "8" and said["plsc_version"] == __version__
    assert report.num_bytes == path.stat().st_size
    names = {tensor.name for tensor in model.graph.initializer}
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    assert set(convolution.input[1:]) <= names and "Constant" not in {
        n.op_type for n in model.graph.node
    }


def test_the_report_is_of_batches_of_1_5_and_64(exported):
    _, report = exported
    assert [check.batch for check in report.checks] == [1, 5, 64]
    agreements = [check.agreement for check in report.checks]
    assert all(item.min_cosine > 0.999999 for item in agreements)
    assert all(item.max_difference < 1e-5 * item.largest_value for item in agreements)
    assert "batch 1: cosine 1.0" in str(report) and "batch 5: cosine 1.0" in str(report)


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_any_batch_size(exported, net, batch):
    images = np.random.default_rng(batch).uniform(-1, 1, (batch, 3, 112, 112)).astype(np.float32)
    found = onnx_file.run(exported[0])({"data": images})["embedding"]
    expected = embeddings(net, images)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_backbone_stays_as_it_is(tmp_path):
    net = SmallNet()
    net.bn.eval()  # a frozen layer of a network in training
    before = {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}
    forward = net.forward
    export.export_onnx(net, tmp_path / "net.onnx", SPEC)
    assert net.training and net.linear.training and not net.bn.training
    assert net.forward == forward
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])
    loss = net(paddle.ones([2, 3, 112, 112])).square().mean()
    loss.backward()
    assert net.conv.weight.grad is not None


def test_paddle_format(net, tmp_path):
    stem = tmp_path / "out" / "net"
    report = export.export_paddle(net, stem, embedding_spec(8, metadata={"source": "s"}))
    assert sorted(path.name for path in stem.parent.iterdir()) == [
        "net.json",
        "net.pdiparams",
        "net.yml",
    ]
    assert report.path == stem.with_name("net.json")
    assert yaml.safe_load((stem.parent / "net.yml").read_text())["source"] == "s"
    images = np.random.default_rng(1).uniform(-1, 1, (64, 3, 112, 112)).astype(np.float32)
    np.testing.assert_allclose(
        export.run_paddle(stem, SPEC)({"data": images})["embedding"],
        embeddings(net, images),
        rtol=1e-5,
        atol=1e-5,
    )


def test_paddle_format_runs_in_paddle_inference(net, tmp_path):
    """The deployment library, in a process of its own as a user has it."""
    export.export_paddle(net, tmp_path / "net", SPEC)
    images = probe_images(3)
    np.save(tmp_path / "images.npy", images)
    code = """
import numpy as np
from paddle import inference
predictor = inference.create_predictor(inference.Config("net.json", "net.pdiparams"))
predictor.get_input_handle("data").copy_from_cpu(np.load("images.npy"))
predictor.run()
handle = predictor.get_output_handle(predictor.get_output_names()[0])
np.save("found.npy", handle.copy_to_cpu())
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    np.testing.assert_allclose(
        np.load(tmp_path / "found.npy"), embeddings(net, images), rtol=1e-4, atol=1e-4
    )


def tamper(tmp_path, change):
    """Patch for the writer of the file: what it wrote, with one tensor changed."""
    finish = onnx_file.finish

    def finish_wrongly(path, metadata, **names):
        finish(path, metadata, **names)
        model = onnx.load(str(path))
        change(model.graph)
        onnx.save(model, str(path))

    return finish_wrongly


def initializer_of(graph, op_type, position):
    node = next(node for node in graph.node if node.op_type == op_type)
    return next(item for item in graph.initializer if item.name == node.input[position])


@pytest.mark.parametrize(
    ("op_type", "position", "value"),
    [
        ("Conv", 1, 0.5),
        ("BatchNormalization", 1, 1.0),
        ("BatchNormalization", 2, 0.0),
        ("BatchNormalization", 3, 0.0),
        ("BatchNormalization", 4, 1.0),
        ("LayerNormalization", 1, 1.0),
        ("LayerNormalization", 2, 0.0),
    ],
)
def test_a_lost_weight_is_noticed_and_nothing_is_left(
    op_type, position, value, net, tmp_path, monkeypatch
):
    def lose(graph):
        tensor = initializer_of(graph, op_type, position)
        values = np.full(list(tensor.dims), value, np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    monkeypatch.setattr(onnx_file, "finish", tamper(tmp_path, lose))
    target = tmp_path / "net.onnx"
    target.write_text("the former file")
    with pytest.raises(UserError, match=r"net.onnx at opset 17 differs from the backbone, nothing"):
        export.export_onnx(net, target, SPEC)
    assert target.read_text() == "the former file"
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_a_fixed_batch_size_is_noticed(net, tmp_path, monkeypatch):
    def fix(graph):
        flatten = onnx.helper.make_tensor("two", onnx.TensorProto.INT64, [2], [1, 8])
        graph.initializer.append(flatten)
        graph.node[-1].output[0] = "loose"
        graph.node.append(onnx.helper.make_node("Reshape", ["loose", "two"], ["embedding"]))

    monkeypatch.setattr(onnx_file, "finish", tamper(tmp_path, fix))
    with pytest.raises(UserError, match="does not run on 5 images: .*cannot be reshaped"):
        export.export_onnx(net, tmp_path / "net.onnx", SPEC)
    assert not list(tmp_path.iterdir())


def test_weights_that_give_nan_are_not_exported(tmp_path):
    net = filled(SmallNet())
    net.linear.bias.set_value(paddle.full([8], float("nan")))
    with pytest.raises(UserError, match="the weights give embeddings with NaN or infinity"):
        export.export_paddle(net, tmp_path / "net", SPEC)
    assert not list(tmp_path.iterdir())


def test_paddle_export_that_differs_leaves_the_former_one(net, tmp_path, monkeypatch):
    export.export_paddle(net, tmp_path / "net", SPEC)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(
        export,
        "run_paddle",
        lambda *_: lambda given: {"embedding": np.ones((len(given["data"]), 8))},
    )
    with pytest.raises(UserError, match=r"net.json differs from the backbone"):
        export.export_paddle(net, tmp_path / "net", SPEC)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nhwc_is_told_the_override(tmp_path):
    """paddle2onnx ends its process there; ours goes on."""

    class Channelslast(SmallNet):
        def forward(self, images):
            return nn.functional.conv2d(
                images.transpose([0, 2, 3, 1]), paddle.ones([8, 3, 112, 112]), data_format="NHWC"
            ).flatten(1)

    with pytest.raises(UserError, match=r"NHWC exports with -o Model.data_format=NCHW") as caught:
        export.export_onnx(Channelslast(), tmp_path / "net.onnx", SPEC)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_missing_packages_are_named_with_the_command(net, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "MODULES", ("onnx", "not_there_1", "not_there_2"))
    with pytest.raises(
        UserError, match=r"needs not_there_1, not_there_2: pip install not_there_1 not_there_2"
    ):
        export.export_onnx(net, tmp_path / "net.onnx", SPEC)


def test_a_place_that_cannot_be_written(net, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"net.onnx: cannot write this file"):
        export.export_onnx(net, tmp_path / "file" / "net.onnx", SPEC)


def test_every_row_of_each_batch_is_compared(net):
    batches = []

    def run(inputs):
        batches.append(len(inputs["data"]))
        return {"embedding": embeddings(net, inputs["data"])}

    def last_row_wrong(inputs):
        found = embeddings(net, inputs["data"])
        found[-1] *= 1 if len(found) < 64 else -1
        return {"embedding": found}

    net.eval()
    export.compare(net, run, "file", SPEC)
    assert batches == [1, 5, 64]
    with pytest.raises(UserError, match="file differs .* batch 64: cosine -1"):
        export.compare(net, last_row_wrong, "file", SPEC)


def test_equal_means_direction_and_values():
    assert EmbeddingAgreement(0.99995, 0.9e-3, 1.0).equal
    assert not EmbeddingAgreement(0.9998, 0.9e-3, 1.0).equal
    assert not EmbeddingAgreement(0.99995, 1.1e-3, 1.0).equal
    assert not EmbeddingAgreement(float("nan"), float("nan"), 1.0).equal


def test_probe_images_are_images():
    images = probe_images(5)
    assert images.shape == (5, 3, 112, 112) and images.dtype == np.float32
    assert images.min() >= -1 and images.max() <= 1
    np.testing.assert_array_equal(images[:1], probe_images(1))
    assert len({image.std().round(4) for image in images}) == 5
