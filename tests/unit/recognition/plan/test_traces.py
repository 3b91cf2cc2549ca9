"""What traces of the shipped backbones count, against published figures and sums by hand."""

import pytest

# M parameters, as published for the same networks.
PUBLISHED = {
    "IResNet18": 24.03,
    "IResNet50": 43.59,
    "IResNet100": 65.16,
    "FaceViT_tiny_patch9_112": 19.1,
    "FaceViT_base_patch9_112": 113.8,
    "MobileFaceNet_base": 2.06,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters(name, trace_of):
    found = trace_of(name)
    assert found.parameters == sum(layer.parameters for layer in found.layers)
    assert found.parameters / 1e6 == pytest.approx(PUBLISHED[name], rel=0.002)


def test_attention_keeps_softmax_in_both_precisions(trace_of):
    """Scaled q, k, v and the weights; tokens are 144 x 256."""
    layers = trace_of("FaceViT_tiny_patch9_112").layers
    found = {layer.path: layer for layer in layers}["blocks.3.attn"]
    tokens, weights = 144 * 256, 8 * 144 * 144
    assert found.kept == (3 * tokens + weights) * 4
    assert found.kept_half == 3 * tokens * 2 + weights * (4 + 2)
