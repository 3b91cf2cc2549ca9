"""BatchNorms that come without statistics: measured ones change nothing but training."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle import nn

from plsc.engine import batch_norm_statistics
from plsc.engine.batch_norm_statistics import Moments, measure_norms
from plsc.nn.evaluation_mode import evaluating
from plsc.nn.layers import from_nchw, to_nchw
from plsc.recognition.export_spec import probe_images
from plsc.weights.weights import batch_norms, epsilon_of

SIZE, BATCH = 24, 8


class Net(nn.Layer):
    """Two convolutions and a linear layer with a BatchNorm behind each; the last one's is fixed."""

    frozen_names = frozenset({"last.weight"})

    def __init__(self, data_format="NCHW"):
        super().__init__()
        self.data_format, options = data_format, {"data_format": data_format}
        self.conv1 = nn.Conv2D(3, 6, 3, stride=4, bias_attr=False, **options)
        self.norm1 = nn.BatchNorm2D(6, epsilon=2e-5, **options)
        self.conv2 = nn.Conv2D(6, 8, 3, stride=4, bias_attr=False, **options)
        self.norm2 = nn.BatchNorm2D(8, **options)
        self.fc = nn.Linear(8 * 7 * 7, 5)
        self.last = nn.BatchNorm1D(5)

    def forward(self, images):
        maps = nn.functional.relu(self.norm1(self.conv1(from_nchw(images, self.data_format))))
        maps = nn.functional.relu(self.norm2(self.conv2(maps)))
        return self.last(self.fc(to_nchw(maps, self.data_format).flatten(1)))


def folded_net(data_format):
    """As the ONNX reader leaves it: scales in the layers before, BatchNorms that only shift."""
    random, net = np.random.default_rng(0), Net(data_format)
    for layer in (net.conv1, net.conv2, net.fc):
        shape = layer.weight.shape
        out = 0 if len(shape) == 4 else 1
        scale = np.exp(random.normal(0, 1.5, shape[out])).reshape([-1, 1, 1, 1] if out == 0 else -1)
        layer.weight.set_value((random.normal(size=shape) * scale).astype(np.float32))
    for norm in batch_norms(net).values():
        channels = norm.weight.shape[0]
        norm.bias.set_value(random.normal(0, 3, channels).astype(np.float32))
        state = norm.state_dict()
        state["_variance"].set_value(np.full(channels, 1 - epsilon_of(norm), np.float32))
    return net


@pytest.fixture
def images():
    return probe_images(SIZE)


def measured(net, images, monkeypatch, names=("norm1", "norm2", "last")):
    """Measure on the images in batches; the lines of the log."""
    parts = [paddle.to_tensor(images[at : at + BATCH]) for at in range(0, SIZE, BATCH)]
    lines = []
    measure_norms(net, names, iter(parts), SimpleNamespace(line=lines.append))
    return lines


def outputs(net, images, *, training):
    with evaluating(net), paddle.no_grad():
        for norm in batch_norms(net).values() if training else ():
            norm.train()
        return net(paddle.to_tensor(images)).numpy()


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
def test_embeddings_stay_and_training_mode_gives_them_too(images, monkeypatch, data_format):
    net = folded_net(data_format)
    before = outputs(net, images, training=False)
    largest = np.abs(before).max()
    monkeypatch.setattr(batch_norm_statistics, "NUM_IMAGES", 1000)
    assert measured(net, images, monkeypatch) == [
        f"statistics of 3 BatchNorms measured on {SIZE} images"
    ]
    np.testing.assert_allclose(
        outputs(net, images, training=False), before, atol=1e-5 * largest, rtol=0
    )
    # the last one's scale is fixed at 1, so it divides by the deviation whatever was measured
    deviation = before.std(axis=0)
    shift = net.last.bias.numpy()
    in_training = (outputs(net, images, training=True) - shift) * deviation + shift
    np.testing.assert_allclose(in_training, before, atol=1e-3 * largest, rtol=0)
    np.testing.assert_array_equal(net.last.weight.numpy(), 1)


def test_without_measuring_training_mode_is_another_network(images):
    """Else the test above would prove nothing."""
    net = folded_net("NCHW")
    before = outputs(net, images, training=False)
    after = outputs(net, images, training=True)
    before, after = before - before.mean(axis=0), after - after.mean(axis=0)
    cosines = (before * after).sum(axis=0) / np.linalg.norm(before, axis=0)
    cosines /= np.linalg.norm(after, axis=0)
    assert cosines.min() < 0.9


def test_statistics_are_those_of_the_inputs(images, monkeypatch):
    net = folded_net("NCHW")
    with evaluating(net), paddle.no_grad():
        inputs = net.conv1(paddle.to_tensor(images)).numpy().astype(np.float64)
    monkeypatch.setattr(batch_norm_statistics, "NUM_IMAGES", 1000)
    measured(net, images, monkeypatch, ["norm1"])
    state = {name: tensor.numpy() for name, tensor in net.norm1.state_dict().items()}
    np.testing.assert_allclose(state["_mean"], inputs.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(state["_variance"], inputs.var(axis=(0, 2, 3)), rtol=1e-4)
    other = folded_net("NCHW").norm2.state_dict()
    for name, tensor in net.norm2.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), other[name].numpy())


def test_it_ends_when_it_has_seen_enough(images, monkeypatch):
    monkeypatch.setattr(batch_norm_statistics, "NUM_IMAGES", BATCH + 1)
    net = folded_net("NCHW")
    net.train()
    lines = measured(net, images, monkeypatch)
    assert lines == [f"statistics of 3 BatchNorms measured on {2 * BATCH} images"]
    assert net.training and net.norm1.training


@pytest.mark.parametrize("batches", [1, 2, 7])
def test_moments_of_batches_are_those_of_all(batches):
    values = np.random.default_rng(0).normal(5, 2, (batches, 11, 3)) ** 2
    moments = Moments()
    for batch in values:
        moments.add(batch.mean(axis=0), batch.var(axis=0))
    every = values.reshape(-1, 3)
    np.testing.assert_allclose(moments.mean, every.mean(axis=0))
    np.testing.assert_allclose(moments.variance, every.var(axis=0))
