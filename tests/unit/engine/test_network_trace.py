"""What a trace counts, against sums by hand; and that it leaves the backbone as it was."""

import numpy as np
import paddle
import pytest
from paddle import nn

from plsc.distributed.recompute import apply_recompute
from plsc.engine.network_trace import trace_network
from plsc.errors import UserError

SIDE = 112
PIXELS = SIDE * SIDE


def trace(network):
    return trace_network(network, [paddle.zeros([1, 3, SIDE, SIDE])])


class Plain(nn.Layer):
    """One layer of each kind, with a residual sum and a functional activation."""

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


class KeepsTwice(nn.Layer):
    """Keeps a copy in each precision of what softmax gives, as its own rule says."""

    def forward(self, x):
        return nn.functional.softmax(x)

    def half_precision_widths(self, kept):
        return (4, 2)


def test_a_layer_says_itself_what_it_keeps_in_half_precision():
    images = paddle.zeros([1, 3])
    images.stop_gradient = False
    (found,) = trace_network(KeepsTwice(), [images]).layers
    assert (found.kept, found.kept_half) == (3 * 4, 3 * (4 + 2))


class Scale(nn.Layer):
    """Takes and returns nests, partly by name."""

    def __init__(self):
        super().__init__()
        self.weight = self.create_parameter([4])

    def forward(self, maps=None, *, factor):
        return {"maps": [each * self.weight * factor for each in maps["maps"]], "note": "none"}


class TwoInputs(nn.Layer):
    def __init__(self):
        super().__init__()
        self.scale = Scale()
        self.fc = nn.Linear(4, 2)

    def forward(self, left, right):
        maps = self.scale({"maps": (left, right)}, factor=2.0)
        maps = self.scale(maps=maps, factor=3.0)
        return self.fc(maps["maps"][0]), self.fc(maps["maps"][1])


def test_layers_of_any_signature():
    made = trace_network(TwoInputs(), [paddle.ones([1, 4]), paddle.ones([1, 6, 4])])
    found = {layer.path: layer for layer in made.layers}
    assert made.parameters == 4 + 4 * 2 + 2
    assert found["scale"].numbers_out == 28 and found["scale"].kept > 28 * 4
    assert found["fc"].kept == 28 * 4


def test_parameters_without_memory():
    """Recurrent layers have one on a CPU, which has no address and cannot be copied."""
    network = nn.LSTM(4, 5)
    made = trace_network(network, [paddle.ones([1, 3, 4])])
    assert made.parameters == 4 * 5 * (4 + 5 + 2)


class Fails(nn.Layer):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1D(3)

    def forward(self, images):
        return self.norm(images.flatten(1))


def test_a_network_that_does_not_run_is_told_in_one_line_and_stays_as_it_was():
    network = Fails()
    network.eval()
    with pytest.raises(UserError, match="^Fails cannot be traced: ValueError") as caught:
        trace(network)
    assert "\n" not in str(caught.value)
    assert not network.training and not network.norm.training
    assert network(paddle.ones([2, 3])).shape == [2, 3], "nothing watches it any more"
