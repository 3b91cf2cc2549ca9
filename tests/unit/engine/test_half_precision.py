"""Layers under emulated O1: the long sums of the embedding layer, overflow, a backbone."""

import numpy as np
import paddle
import pytest
from filled_nets import embeddings, filled
from half_precision import emulate
from paddle import nn

from plsc.config.registry import BACKBONES


@pytest.mark.parametrize("dtype, bound", [("float16", 2**-9), ("bfloat16", 2**-6)])
def test_embedding_layers_long_sums_survive_half_precision(monkeypatch, dtype, bound):
    """25,088 terms of a BatchNorm's size add up to an output that half precision holds."""
    paddle.seed(1)
    layer, x = nn.Linear(25088, 512), paddle.randn([8, 25088])
    expected = layer(x).numpy()
    emulate(monkeypatch, dtype)
    found = layer(x)
    assert 0 < np.linalg.norm(found.numpy() - expected) / np.linalg.norm(expected) < bound
    (found.sum() * 27648.0 / 512).backward()
    assert np.isfinite(layer.weight.grad.numpy()).all()


def test_gradient_beyond_half_precision_overflows_by_itself(monkeypatch):
    layer, x = nn.Linear(4, 4), paddle.ones([2, 4])
    emulate(monkeypatch)
    (layer(x).sum() * 70000.0).backward()
    assert not np.isfinite(layer.weight.grad.numpy()).any()


@pytest.mark.parametrize("name", ["IResNet18", "MobileFaceNet_base", "FaceViT_tiny_patch9_112"])
def test_backbone_stays_close_in_half_precision(monkeypatch, name):
    net = filled(BACKBONES.get(name, "Model.name")(num_features=512))
    images = np.random.default_rng(3).uniform(-1, 1, (2, 3, 112, 112))
    expected = embeddings(net, images)
    calls = emulate(monkeypatch)
    found = embeddings(net, images)
    assert {"conv2d", "linear"} & set(calls)
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1)
    assert (cosines / np.linalg.norm(expected, axis=1) > 0.99999).all()
    assert (found != expected).any()
