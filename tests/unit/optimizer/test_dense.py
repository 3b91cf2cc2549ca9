"""Which parameters train, one by one or as one vector, and their state in a checkpoint."""

import functools

import numpy as np
import paddle
import pytest
from paddle import nn

from plsc.optimizer.dense import DenseParameters, Unit
from plsc.optimizer.flat import FlatParameters
from plsc.recognition.models.iresnet import IResNet18


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.used, self.unused, self.fixed = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)
        self.bn = nn.BatchNorm1D(2)
        self.fixed.weight.stop_gradient = True

    def forward(self, x):
        return self.bn(self.used(x) + self.fixed(x))


def by_ending(name: str) -> tuple[bool, bool]:
    return name.endswith("bias"), False


@pytest.fixture(params=["one by one", "flat"])
def parameters_of(request):
    """(layer, options) -> its parameters, arranged in either way."""
    if request.param == "flat":
        return functools.partial(FlatParameters, kind_of=by_ending)
    return DenseParameters


@pytest.fixture
def dense(parameters_of):
    return parameters_of(Net(), state_names=("m", "v"), frozen={"bn.weight"})


TRAINED = ["bn.bias", "fixed.bias", "unused.bias", "unused.weight", "used.bias", "used.weight"]


def test_what_trains(dense):
    assert sorted(dense.weights) == TRAINED
    assert sorted(dense.state) == TRAINED
    for name, state in dense.state.items():
        assert sorted(state) == ["m", "v"]
        assert all(tensor.shape == dense.weights[name].shape for tensor in state.values())
        assert not any(tensor.numpy().any() for tensor in state.values())
        assert all(tensor.stop_gradient for tensor in state.values())


def test_gradients_of_what_took_part(parameters_of):
    paddle.seed(0)
    net = Net()
    dense = parameters_of(net, state_names=(), frozen={"bn.weight"})
    assert dense.gradients() == {}
    (net(paddle.randn([4, 3])) * paddle.randn([4, 2])).sum().backward()
    assert sorted(dense.gradients()) == ["bn.bias", "fixed.bias", "used.bias", "used.weight"]
    assert net.bn.weight.grad is not None
    dense.clear_gradients()
    assert dense.gradients() == {}
    assert net.bn.weight.grad is None


def test_state_survives_a_checkpoint(dense, parameters_of):
    for number, tensors in enumerate(dense.state.values()):
        for name, tensor in tensors.items():
            tensor.set_value(np.full(tensor.shape, number + (name == "v") / 2, "float32"))
    arrays = dense.state_arrays()
    assert "m/used.weight" in arrays
    other = parameters_of(Net(), state_names=("m", "v"), frozen={"bn.weight"})
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


@pytest.mark.parametrize("complete", [True, False], ids=["all took part", "some took part"])
def test_units_are_what_took_part(parameters_of, complete):
    """Each parameter is in one unit, and what a rule makes of a unit is the network's."""
    paddle.seed(0)
    net = Net()
    dense = parameters_of(net, state_names=("m",), frozen={"bn.weight"})
    for weight in dense.weights.values():  # as a checkpoint is loaded: before the first step
        weight.set_value(paddle.randn(weight.shape))
    found = net(paddle.randn([4, 3])) * paddle.randn([4, 2])
    (found.sum() + (net.unused(paddle.ones([1, 3])).sum() if complete else 0)).backward()
    before = {name: weight.numpy().copy() for name, weight in dense.weights.items()}
    gradients = {name: gradient.numpy() for name, gradient in dense.gradients().items()}
    units = dense.units()
    assert sorted(name for unit in units for name in unit.names) == sorted(gradients)
    assert len(units) == (2 if complete and isinstance(dense, FlatParameters) else len(gradients))
    for unit in units:
        square = sum((gradients[name].astype("float64") ** 2).sum() for name in unit.names)
        assert float(unit.square()) == pytest.approx(square, rel=1e-6)
        with paddle.no_grad():
            unit.weight.subtract_(unit.gradient)
            unit.state["m"].add_(unit.gradient)
    dense.publish()
    for name, weight in dense.weights.items():
        gradient = gradients.get(name, 0 * before[name])
        np.testing.assert_array_equal(weight.numpy(), before[name] - gradient)
        np.testing.assert_array_equal(dense.state_arrays()[f"m/{name}"], gradient)


def test_the_square_of_large_gradients():
    """Ten million values added up one after the other in float32 would lose two percent."""
    values = np.random.default_rng(0).standard_normal(10_000_000, dtype=np.float32)
    gradient = paddle.to_tensor(values)
    exact = np.square(values, dtype=np.float64).sum()
    assert float(Unit(("a",), gradient, gradient, {}).square()) == pytest.approx(exact, rel=1e-5)
