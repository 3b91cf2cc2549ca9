"""What plsc-eval and plsc-export do with the weights of other systems, as with our own."""

import numpy as np
import onnxruntime
import paddle
import pytest

from plsc.config.load import parse_config
from plsc.engine import run as commands
from plsc.engine import starting_point
from plsc.errors import UserError
from plsc.export import convert as export
from plsc.nn.evaluation_mode import evaluating
from plsc.recognition import export_spec
from plsc.recognition.export_spec import embedding_spec, probe_images
from plsc.recognition.models.small import QuickFace_nano


@pytest.fixture(scope="module")
def net():
    net = QuickFace_nano(32)
    random = np.random.default_rng(0)
    for name, tensor in net.state_dict().items():
        if len(tensor.shape) == 1:
            low = 0.5 if name.endswith(("weight", "_variance")) else -0.5
            tensor.set_value(random.uniform(low, low + 1, tensor.shape).astype(np.float32))
    return net


@pytest.fixture(scope="module")
def files(net, tmp_path_factory, write_torch):
    """The same weights as torch.save's and as an ONNX file with folded BatchNorms."""
    folder = tmp_path_factory.mktemp("weights")
    state = {}
    for name, tensor in net.state_dict().items():
        name = name.replace("._mean", ".running_mean").replace("._variance", ".running_var")
        array = tensor.numpy()
        state[f"module.{name}"] = array.T.copy() if name == "fc.weight" else array
    write_torch(folder / "net.pth", {"state_dict": state})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_spec, "CHECKED_BATCHES", (1,))
        patch.setattr(export, "TIMED_RUNS", 1)
        export.export_onnx(net, folder / "whole.onnx", embedding_spec(net.num_features))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "net.onnx")
    given = str(folder / "whole.onnx")
    onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    return folder


def configured(run, path, **sections):
    tree = {**run.config, **sections}
    tree["Global"] = {**tree["Global"], "pretrained_model": str(path)}
    return parse_config(tree)


def test_evaluation(run, net, files):
    """Three files of one network: the same figures; what was folded is said in the log."""
    kept = run.folder / "own.pdparams"
    paddle.save(net.state_dict(), str(kept))
    found = []
    for path in (kept, files / "net.pth", files / "net.onnx"):
        (figures,) = commands.evaluate(configured(run, path), run.output).values()
        found.append(figures)
    for figures in found[1:]:
        assert figures == pytest.approx(found[0], rel=1e-3, nan_ok=True)
    log = (run.output / "eval.log").read_text()
    assert "8 BatchNorms come multiplied into the layers before them (stem.1," in log
    assert "the backbone gives the embeddings that the ONNX file gives (cosine 1.0" in log


def test_export(run, net, files, monkeypatch):
    monkeypatch.setattr(export_spec, "CHECKED_BATCHES", (1,))
    config = configured(run, files / "net.pth", Export={"export_type": "onnx"})
    target = commands.export(config, run.output)
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    images = probe_images(2)
    with evaluating(net), paddle.no_grad():
        expected = net(paddle.to_tensor(images)).numpy()
    np.testing.assert_allclose(
        session.run(None, {"data": images})[0], expected, atol=1e-5 * np.abs(expected).max()
    )


def test_what_is_missing_is_said_before_anything_starts(run, files):
    for name in ("net.pth", "net.onnx"):
        starting_point.check_sources(configured(run, files / name), run.output)
        assert starting_point.check_weights_given(configured(run, files / name), "eval")
        with pytest.raises(UserError, match=r"nowhere.*\.pth or \.onnx"):
            starting_point.check_sources(configured(run, files / "nowhere" / name), run.output)
