"""A transformer of CPU layers beside one of Paddle's, and which kernels compute it."""

import copy

import numpy as np
import paddle
import pytest
from small_networks import small_face_vit

from plsc.distributed.recompute import apply_recompute
from plsc.nn import cpu_transformer

pytest.importorskip("numba")


@pytest.fixture
def kernel_calls(calls_of):
    """The kernels that ran in forward passes."""
    rows, attention = cpu_transformer.rows, cpu_transformer.attention
    return calls_of((rows, "add_bias"), (rows, "normalise"), (attention, "forward"))


def vit():
    paddle.seed(1)
    return small_face_vit(16, 2, 8)


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
