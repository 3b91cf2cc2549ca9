"""What a run needs of a backbone and a loss that are not plsc's own."""

import paddle
import pytest
from paddle import nn

from plsc.config.component import Component
from plsc.config.registry import BACKBONES, LOSSES
from plsc.engine import onnx_runtime
from plsc.engine.network_trace import trace_network
from plsc.errors import UserError
from plsc.nn.layers import frozen_names
from plsc.recognition.build import build_loss, build_network
from plsc.recognition.export_spec import embedding_spec
from plsc.recognition.sections import LossTerm


class Part(nn.Layer):
    """Takes a keyword and gives two tensors; `weight` is no tensor."""

    def __init__(self):
        super().__init__()
        self.weight = 2.0
        self.conv = nn.Conv2D(3, 4, 7, stride=8)

    def forward(self, *, images):
        maps = self.conv(images) * self.weight
        return maps.mean(axis=[2, 3]), maps


class OwnNet(nn.Layer):
    """No Backbone, and built in its own way."""

    def __init__(self, size: int = 6):
        super().__init__()
        self.num_features = size
        self.part = Part()
        self.fc = nn.Linear(4, size)

    def forward(self, images):
        return self.fc(self.part(images=images)[0])


class NoSize(nn.Layer):
    def __init__(self):
        super().__init__()


def no_layer():
    return 3


def no_margin():
    return 3


@pytest.fixture(autouse=True)
def registered():
    for builder in (OwnNet, NoSize, no_layer):
        BACKBONES.register(builder)
    LOSSES.register(no_margin)
    yield
    for registry in (BACKBONES, LOSSES):
        registry.forget(__name__)


def own_net() -> nn.Layer:
    net = build_network(Component("OwnNet", {"size": 5}, "Model", ("name",)))
    net.eval()
    return net


def test_a_layer_with_a_size_is_a_backbone():
    assert own_net().num_features == 5 and frozen_names(own_net()) == frozenset()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("NoSize", "Model.name: NoSize does not tell its embedding's size: set self.num_features "),
        ("no_layer", "Model.name: a backbone must be a paddle.nn.Layer, got a int"),
    ],
)
def test_what_is_no_backbone(name, line):
    with pytest.raises(UserError, match=line) as caught:
        build_network(Component(name, {}, "Model", ("name",)))
    assert str(caught.value).endswith(f" ({name} is defined by plug-in {__name__})")


def test_what_is_no_loss():
    term = LossTerm(Component("no_margin", {}, "Loss.Train.0.no_margin", ("weight",)))
    with pytest.raises(UserError, match=r"Loss.Train.0.no_margin: a loss must be a plsc.*Margin, "):
        build_loss(term)


def test_an_unusual_backbone_is_traced():
    traced = trace_network(own_net(), [paddle.zeros([1, 3, 112, 112])])
    assert traced.parameters == 4 * 3 * 49 + 4 + 4 * 5 + 5


def test_an_unusual_backbone_is_evaluated_by_onnx_runtime(monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("paddle2onnx")
    monkeypatch.setattr(onnx_runtime, "FEWEST_SAMPLES", 1)
    net = own_net()
    run = onnx_runtime.onnx_function(net, embedding_spec(5), num_samples=2)
    assert run is not None
    images = paddle.randn([2, 3, 112, 112])
    assert abs(run({"data": images.numpy()})["embedding"] - net(images).numpy()).max() < 1e-5


class Unconvertible(OwnNet):
    def forward(self, images):
        return super().forward(paddle.erfinv(images))


def test_a_backbone_without_an_onnx_form_is_evaluated_by_paddle(monkeypatch, caplog):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("paddle2onnx")
    monkeypatch.setattr(onnx_runtime, "FEWEST_SAMPLES", 1)
    net = Unconvertible()
    net.eval()
    assert onnx_runtime.onnx_function(net, embedding_spec(5), num_samples=2) is None
    assert "evaluating without ONNX Runtime" in caplog.text
