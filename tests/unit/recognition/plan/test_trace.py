"""What a trace counts, against sums by hand; and that it leaves the backbone as it was."""

import numpy as np
import paddle
import pytest
from paddle import nn

from plsc.distributed.recompute import apply_recompute
from plsc.nn.layers import Backbone
from plsc.recognition.plan.trace import trace

PIXELS = 112 * 112
# G multiply-adds of an image and M parameters, as published for the same networks.
PUBLISHED = {
    "IResNet18": (2.6, 24.03),
    "IResNet50": (6.3, 43.59),
    "IResNet100": (12.1, 65.16),
    "FaceViT_tiny_patch9_112": (1.5, 19.1),
    "FaceViT_base_patch9_112": (11.4, 113.8),
    "MobileFaceNet_base": (0.45, 2.06),
}


def conv(inputs, outputs, kernel, side, groups=1):
    return inputs // groups * outputs * kernel * kernel * side * side


def iresnet(depths):
    total, inputs, side = conv(3, 64, 3, 112), 64, 112
    for outputs, depth in zip((64, 128, 256, 512), depths, strict=True):
        total += conv(inputs, outputs, 3, side)  # the first of a stage reads the larger map
        side //= 2
        total += conv(outputs, outputs, 3, side) + conv(inputs, outputs, 1, side)
        total += (depth - 1) * 2 * conv(outputs, outputs, 3, side)
        inputs = outputs
    return total + 512 * 7 * 7 * 512


def face_vit(dim, depth, tokens=144):
    block = tokens * dim * (3 * dim + dim + 4 * dim + 4 * dim) + 2 * tokens * tokens * dim
    return tokens * 3 * 81 * dim + depth * block + 144 * dim * dim + dim * 512


def mobilefacenet():
    def depthwise(inputs, outputs, width, before, after):
        return (
            conv(inputs, width, 1, before)
            + conv(width, width, 3, after, groups=width)
            + conv(width, outputs, 1, after)
        )

    total = conv(3, 128, 3, 56) + conv(128, 128, 3, 56, groups=64)
    total += depthwise(128, 128, 128, 56, 28) + 4 * depthwise(128, 128, 128, 28, 28)
    total += depthwise(128, 256, 256, 28, 14) + 6 * depthwise(256, 256, 256, 14, 14)
    total += depthwise(256, 256, 512, 14, 7) + 2 * depthwise(256, 256, 256, 7, 7)
    return total + conv(256, 512, 1, 7) + 512 * 49 + 512 * 512


BY_HAND = {
    "IResNet18": iresnet((2, 2, 2, 2)),
    "IResNet50": iresnet((3, 4, 14, 3)),
    "IResNet100": iresnet((3, 13, 30, 3)),
    "FaceViT_tiny_patch9_112": face_vit(256, 12),
    "FaceViT_base_patch9_112": face_vit(512, 24),
    "MobileFaceNet_base": mobilefacenet(),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_multiply_adds_and_parameters(name, trace_of):
    found, (work, parameters) = trace_of(name), PUBLISHED[name]
    assert found.multiply_adds == BY_HAND[name]
    assert found.multiply_adds / 1e9 == pytest.approx(work, rel=0.03)
    assert found.parameters == sum(layer.parameters for layer in found.layers)
    assert found.parameters / 1e6 == pytest.approx(parameters, rel=0.002)


class Plain(Backbone):
    """One layer of each kind, with a residual sum and a functional activation."""

    num_features = 8

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2D(3, 4, 3, padding=1, bias_attr=False)
        self.norm = nn.BatchNorm2D(4)
        self.prelu = nn.PReLU(4)
        self.blocks = nn.LayerList([nn.Conv2D(4, 4, 3, padding=1) for _ in range(2)])
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4 * PIXELS, 8)

    def forward(self, images):
        maps = self.prelu(self.norm(self.conv1(images)))
        for block in self.blocks:
            maps = maps + block(maps)
        return self.fc(nn.functional.relu(self.drop(maps)).flatten(1))


def test_each_layer_keeps_its_input_once():
    backbone = Plain()
    made = trace(backbone)
    trained = [item.size for item in backbone.parameters() if not item.stop_gradient]
    assert made.parameters == sum(trained) and made.statistics == 2 * 4
    found = {layer.path: layer for layer in made.layers}
    assert found["conv1"].kept == 3 * PIXELS * 4
    assert found["norm"].kept == 4 * PIXELS * 4
    assert found["prelu"].kept == 4 * PIXELS * 4
    assert found["blocks.0"].kept == found["blocks.1"].kept == 4 * PIXELS * 4
    # ReLU's output, which is the linear layer's input too, belongs to the backbone's own code.
    assert found["fc"].kept == 0 and found[""].kept == 4 * PIXELS * 4
    assert found["drop"].kept == 4 * PIXELS  # the mask, a byte each
    assert sum(layer.kept for layer in found.values()) == (3 + 5 * 4) * PIXELS * 4 + 4 * PIXELS


def test_half_precision_halves_what_is_not_computed_in_float32():
    found = {layer.path: layer for layer in trace(Plain()).layers}
    assert found["conv1"].kept_half == 3 * PIXELS * 2
    assert found["norm"].kept_half == 4 * PIXELS * 2
    assert found["prelu"].kept_half == 4 * PIXELS * 4
    assert found["drop"].kept_half == 4 * PIXELS


def test_attention_keeps_softmax_in_both_precisions(trace_of):
    """Scaled q, k, v and the weights; tokens are 144 x 256."""
    layers = trace_of("FaceViT_tiny_patch9_112").layers
    found = {layer.path: layer for layer in layers}["blocks.3.attn"]
    tokens, weights = 144 * 256, 8 * 144 * 144
    assert found.multiply_adds == 2 * 144 * 144 * 256
    assert found.kept == (3 * tokens + weights) * 4
    assert found.kept_half == 3 * tokens * 2 + weights * (4 + 2)


def test_nothing_stays_changed():
    paddle.seed(3)
    backbone = Plain()
    backbone.eval()
    backbone.blocks[0].train()
    before = {key: value.numpy().copy() for key, value in backbone.state_dict().items()}
    paddle.seed(11)
    wanted = paddle.rand([4]).numpy()
    paddle.seed(11)
    first = trace(backbone)
    assert (paddle.rand([4]).numpy() == wanted).all()
    for key, value in backbone.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])
    assert not backbone.training and backbone.blocks[0].training and not backbone.fc.training
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert trace(backbone) == first


def test_layers_set_to_be_recomputed_are_traced_as_if_they_were_not():
    plain, redone = Plain(), Plain()
    assert apply_recompute(redone) == 2
    assert trace(redone) == trace(plain)
    assert "forward" in vars(redone.blocks[0]), "and are recomputed afterwards"
