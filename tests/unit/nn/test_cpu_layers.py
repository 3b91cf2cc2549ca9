"""The CPU layers beside Paddle's own: values, gradients, states, and when which is used."""

import copy

import numpy as np
import paddle
import pytest
from paddle import nn

from plsc.config.registry import BACKBONES
from plsc.distributed.recompute import apply_recompute
from plsc.export.convert import export_paddle
from plsc.nn import cpu_layers, cpu_transformer
from plsc.nn.kernels import compiled
from plsc.nn.layers import Backbone
from plsc.recognition.export_spec import embedding_spec

pytest.importorskip("numba")


class Attend(nn.Layer):
    """`attend`, or the definition of softmax attention in Paddle's operations."""

    def __init__(self, *, stock):
        super().__init__()
        self.stock = stock

    def forward(self, qkv):
        """[b, n, 24] -> [b, n, 8]."""
        if not self.stock:
            return cpu_transformer.attend(qkv, 2)
        heads = []
        for h in range(2):
            q, k, v = (qkv[:, :, part + 4 * h : part + 4 * h + 4] for part in (0, 8, 16))
            scores = paddle.matmul(q, k, transpose_y=True) / 2
            heads.append(paddle.matmul(nn.functional.softmax(scores, axis=-1), v))
        return paddle.concat(heads, axis=-1)


CASES = {
    "prelu": (lambda: cpu_layers.PReLU(6), lambda: nn.PReLU(6), (3, 6, 9, 8)),
    "prelu-rows": (
        lambda: cpu_layers.PReLU(6, data_format="NHWC"),
        lambda: nn.PReLU(6, data_format="NHWC"),
        (3, 9, 8, 6),
    ),
    "depthwise": (
        lambda: cpu_layers.DepthwiseConv2D(6, 3, stride=2, padding=1),
        lambda: nn.Conv2D(6, 6, 3, stride=2, padding=1, groups=6, bias_attr=False),
        (3, 6, 9, 8),
    ),
    "convolution": (
        lambda: cpu_layers.Conv2D(6, 4, 3, stride=2, padding=1),
        lambda: nn.Conv2D(6, 4, 3, stride=2, padding=1, bias_attr=False),
        (3, 6, 9, 8),
    ),
    "linear": (lambda: cpu_transformer.Linear(24, 7), lambda: nn.Linear(24, 7), (3, 35, 24)),
    "layer-norm": (lambda: cpu_transformer.LayerNorm(24), lambda: nn.LayerNorm(24), (3, 35, 24)),
    "attention": (lambda: Attend(stock=False), lambda: Attend(stock=True), (3, 35, 24)),
}
OF_TRANSFORMERS = ("linear", "layer-norm", "attention")


@pytest.fixture(params=CASES)
def layers(request, paired):
    """The layer, Paddle's with the same state, and an input."""
    ours, stock, shape = CASES[request.param]
    return paired(ours(), stock(), shape)


@pytest.fixture
def of_transformers(request):
    return request.node.callspec.params["layers"] in OF_TRANSFORMERS


@pytest.fixture
def kernel_calls(calls_of):
    """The kernels that ran in forward passes."""
    kernels = (cpu_layers.prelu, cpu_layers.depthwise, cpu_layers.convolution)
    rows, attention = cpu_transformer.rows, cpu_transformer.attention
    return calls_of(
        *((kernel, "forward") for kernel in (*kernels, attention)),
        *((cpu_layers.prelu, "forward_rows"), (rows, "add_bias"), (rows, "normalise")),
    )


def test_equals_paddles(layers, of_transformers, kernel_calls, results, same):
    ours, stock, x = layers
    atol = 1e-5 if of_transformers else 2e-6
    strided = paddle.randn([x.shape[1], x.shape[0], *x.shape[2:]])
    strided = strided.transpose([1, 0, *range(2, x.ndim)])
    for given in (x, strided, x[1:]):
        same(results(ours, given), results(stock, given), rtol=1e-5, atol=atol)
    assert len(kernel_calls) == 3
    with paddle.no_grad():
        out = ours(x)
    assert out.stop_gradient and len(kernel_calls) == 4
    np.testing.assert_array_equal(out.numpy(), results(ours, x)["out"])


def test_any_number_of_dimensions(results, same):
    paddle.seed(4)
    for key in ("linear", "layer-norm"):
        ours, stock = (build() for build in CASES[key][:2])
        stock.set_state_dict(ours.state_dict())
        for shape in ([5, 24], [2, 3, 4, 24]):
            x = paddle.randn(shape)
            same(results(ours, x), results(stock, x), rtol=1e-5, atol=1e-5)


def test_the_same_to_the_last_bit_every_time(layers, results, same):
    ours, _, x = layers
    first = results(ours, x)
    for _ in range(5):
        same(results(ours, x), first)


@pytest.mark.parametrize("why", ["stock", "no numba", "float64"])
def test_paddles_own_where_kernels_are_not_for(
    layers, of_transformers, kernel_calls, monkeypatch, results, same, why
):
    ours, stock, x = layers
    if why == "stock":
        monkeypatch.setenv("PLSC_STOCK_CPU", "1")
    elif why == "no numba":
        monkeypatch.setattr(compiled, "available", lambda: False)
    else:
        ours, stock, x = ours.to(dtype="float64"), stock.to(dtype="float64"), x.astype("float64")
    bound = 1e-6 if of_transformers else 0.0
    same(results(ours, x), results(stock, x), rtol=bound, atol=bound)
    assert not kernel_calls


def test_frozen_parameters_and_plain_inputs_get_no_gradient(layers):
    ours, _, x = layers
    for parameter in ours.parameters():
        parameter.stop_gradient = True
    x.stop_gradient = False
    ours(x).sum().backward()
    assert x.grad is not None and all(p.grad is None for p in ours.parameters())
    if ours.parameters():
        for parameter in ours.parameters():
            parameter.stop_gradient = False
        plain = x.detach()
        ours(plain).sum().backward()
        assert plain.grad is None and all(p.grad is not None for p in ours.parameters())


class Small(Backbone):
    """The layers in a row."""

    num_features = 7

    def __init__(self):
        super().__init__()
        self.blocks = nn.LayerList(
            [
                cpu_layers.Conv2D(3, 6, 3, stride=4, padding=1),
                cpu_layers.PReLU(6),
                cpu_layers.DepthwiseConv2D(6, 3, stride=2, padding=1),
            ]
        )
        self.fc = nn.Linear(6 * 14 * 14, 7)

    def forward(self, images):
        """Images [b, 3, 112, 112] -> features."""
        for block in self.blocks:
            images = block(images)
        return self.fc(images.flatten(1))


def test_recompute_changes_nothing(kernel_calls, results, same):
    paddle.seed(4)
    plain = Small()
    again = copy.deepcopy(plain)
    apply_recompute(again)
    x = paddle.randn([4, 3, 112, 112])
    same(results(again, x), results(plain, x))
    assert len(kernel_calls) == 3 * 3


def test_a_trained_backbone_is_exported(tmp_path, kernel_calls, results):
    paddle.seed(5)
    backbone = Small()
    results(backbone, paddle.randn([4, 3, 112, 112]))
    assert len(kernel_calls) == 3
    spec = embedding_spec(backbone.num_features)
    export_paddle(backbone, tmp_path / "model", spec)  # which compares what it wrote
    assert (tmp_path / "model.json").exists()


def test_backbones_use_them(kernel_calls, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    backbone = BACKBONES.get("MobileFaceNet_base", "test")()
    backbone.eval()
    with paddle.no_grad():
        backbone(paddle.randn([2, 3, 112, 112]))
    # convolutions but for the one of groups of two, depthwise ones, PReLUs
    assert len(kernel_calls) == 32 + 16 + 33
