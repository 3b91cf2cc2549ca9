"""The transformer's CPU layers beside Paddle's: values, gradients, states, when which is used."""

import copy

import numpy as np
import paddle
import pytest
from paddle import nn

from plsc.distributed.recompute import apply_recompute
from plsc.nn import cpu_transformer
from plsc.nn.kernels import compiled
from plsc.recognition.models.face_vit import FaceViT

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
    "linear": (lambda: cpu_transformer.Linear(24, 7), lambda: nn.Linear(24, 7)),
    "layer-norm": (lambda: cpu_transformer.LayerNorm(24), lambda: nn.LayerNorm(24)),
    "attention": (lambda: Attend(stock=False), lambda: Attend(stock=True)),
}


@pytest.fixture(params=CASES)
def layers(request, paired):
    """The layer, Paddle's with the same state, and an input."""
    return paired(*(build() for build in CASES[request.param]), (3, 35, 24))


@pytest.fixture
def kernel_calls(calls_of):
    """The kernels that ran in forward passes."""
    rows, attention = cpu_transformer.rows, cpu_transformer.attention
    return calls_of((rows, "add_bias"), (rows, "normalise"), (attention, "forward"))


def test_equals_paddles(layers, kernel_calls, results, same):
    ours, stock, x = layers
    strided = paddle.randn([35, 3, 24]).transpose([1, 0, 2])
    for given in (x, strided, x[1:]):
        same(results(ours, given), results(stock, given), rtol=1e-5, atol=1e-5)
    assert len(kernel_calls) == 3
    with paddle.no_grad():
        out = ours(x)
    assert out.stop_gradient and len(kernel_calls) == 4
    np.testing.assert_array_equal(out.numpy(), results(ours, x)["out"])


def test_any_number_of_dimensions(results, same):
    paddle.seed(4)
    layers = {key: [build() for build in CASES[key]] for key in ("linear", "layer-norm")}
    for ours, stock in layers.values():
        stock.set_state_dict(ours.state_dict())
        for shape in ([5, 24], [2, 3, 4, 24]):
            x = paddle.randn(shape)
            same(results(ours, x), results(stock, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("why", ["stock", "no numba", "float64"])
def test_paddles_own_where_kernels_are_not_for(
    layers, kernel_calls, monkeypatch, results, same, why
):
    ours, stock, x = layers
    if why == "stock":
        monkeypatch.setenv("PLSC_STOCK_CPU", "1")
    elif why == "no numba":
        monkeypatch.setattr(compiled, "available", lambda: False)
    else:
        ours, stock, x = ours.to(dtype="float64"), stock.to(dtype="float64"), x.astype("float64")
    same(results(ours, x), results(stock, x), rtol=1e-6, atol=1e-6)
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


def vit():
    paddle.seed(1)
    return FaceViT(16, 2, num_features=8, mask_ratio=0.0, drop_path_rate=0.0)


def test_a_backbone_uses_them_and_learns_the_same(kernel_calls, monkeypatch, results, same):
    ours = vit()
    x = paddle.randn([4, 3, 112, 112])
    monkeypatch.setenv("PLSC_STOCK_CPU", "1")
    expected = results(copy.deepcopy(ours), x)
    assert not kernel_calls
    monkeypatch.setenv("PLSC_STOCK_CPU", "0")
    found = results(copy.deepcopy(ours), x)
    assert sorted(kernel_calls) == ["add_bias"] * 6 + ["forward"] * 2 + ["normalise"] * 5
    for key, value in found.items():
        difference = np.abs(value - expected[key]).max()
        # norm.bias moves what a BatchNorm takes away: its gradient is rounding only
        assert difference <= 2e-5 * np.abs(expected[key]).max() + 2e-6, key
    again = results(copy.deepcopy(ours), x)
    same(again, found)


def test_recompute_changes_nothing(kernel_calls, results, same):
    plain = vit()
    again = copy.deepcopy(plain)
    assert apply_recompute(again) == 2
    x = paddle.randn([4, 3, 112, 112])
    same(results(again, x), results(plain, x))
    assert len(kernel_calls) == 13 * 2 + 12
