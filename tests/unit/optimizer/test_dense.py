"""Which parameters train, and their state in a checkpoint."""

import numpy as np
import paddle
import pytest
from paddle import nn

from plsc.optimizer.dense import DenseParameters
from plsc.recognition.models.iresnet import IResNet18


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.used, self.unused, self.fixed = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)
        self.bn = nn.BatchNorm1D(2)
        self.fixed.weight.stop_gradient = True

    def forward(self, x):
        return self.bn(self.used(x) + self.fixed(x))


@pytest.fixture
def dense():
    return DenseParameters(Net(), state_names=("m", "v"), frozen={"bn.weight"})


TRAINED = ["bn.bias", "fixed.bias", "unused.bias", "unused.weight", "used.bias", "used.weight"]


def test_what_trains(dense):
    assert sorted(dense.weights) == TRAINED
    assert sorted(dense.state) == TRAINED
    for name, state in dense.state.items():
        assert sorted(state) == ["m", "v"]
        assert all(tensor.shape == dense.weights[name].shape for tensor in state.values())
        assert not any(tensor.numpy().any() for tensor in state.values())
        assert all(tensor.stop_gradient for tensor in state.values())


def test_gradients_of_what_took_part():
    paddle.seed(0)
    net = Net()
    dense = DenseParameters(net, state_names=(), frozen={"bn.weight"})
    assert dense.gradients() == {}
    (net(paddle.randn([4, 3])) * paddle.randn([4, 2])).sum().backward()
    assert sorted(dense.gradients()) == ["bn.bias", "fixed.bias", "used.bias", "used.weight"]
    assert net.bn.weight.grad is not None
    dense.clear_gradients()
    assert dense.gradients() == {}
    assert net.bn.weight.grad is None


def test_state_survives_a_checkpoint(dense):
    for number, tensors in enumerate(dense.state.values()):
        for name, tensor in tensors.items():
            tensor.set_value(np.full(tensor.shape, number + (name == "v") / 2, "float32"))
    arrays = dense.state_arrays()
    assert "m/used.weight" in arrays
    other = DenseParameters(Net(), state_names=("m", "v"), frozen={"bn.weight"})
    assert other.load_state_arrays(arrays) == []
    for name, values in other.state_arrays().items():
        np.testing.assert_array_equal(values, arrays[name])
    arrays.pop("m/used.weight")
    arrays["v/bn.bias"] = np.zeros(3, "float32")
    assert sorted(other.load_state_arrays(arrays)) == ["m/used.weight", "v/bn.bias"]


def test_the_scale_of_iresnets_features_does_not_train_but_its_bias_does():
    backbone = IResNet18(num_features=512)
    dense = DenseParameters(backbone, state_names=(), frozen=backbone.frozen_names)
    assert "features.weight" not in dense.weights
    assert "features.bias" in dense.weights
    every = {name for name, p in backbone.named_parameters() if not p.stop_gradient}
    assert every - set(dense.weights) == {"features.weight"}
