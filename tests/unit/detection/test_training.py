"""A detector's body may begin with weights of its own, as of ImageNet."""

from types import SimpleNamespace

import numpy as np
import pytest
from filled_nets import filled
from mindspore_files import parameter
from refusals import refused
from torch_files import as_torch

from plsc.detection.models.retinaface import RetinaFace_ResNet50
from plsc.detection.sections import LossConfig
from plsc.detection.training import DetectionTraining
from plsc.weights.mindspore_weights import mindspore_names


@pytest.fixture(scope="module")
def body():
    return filled(RetinaFace_ResNet50().body)


def started(path, network, weights=None):
    lines = []
    task = DetectionTraining(LossConfig(), str(path))
    task.start(weights, network, None, SimpleNamespace(line=lines.append))
    return lines


def assert_body(network, body):
    for key, tensor in network.body.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), body.state_dict()[key].numpy())


def test_a_file_of_torchvision(tmp_path, write_torch, body):
    """Its names are those of the body, and it has a classifier."""
    classifier = {"fc.weight": np.ones((10, 2048), "f4"), "fc.bias": np.ones(10, "f4")}
    path = write_torch(tmp_path / "resnet50.pth", as_torch(body) | classifier)
    network = RetinaFace_ResNet50()
    heads = network.BboxHead[0].conv1x1.weight.numpy()
    assert "the body begins with these weights" in started(path, network)[-1]
    assert_body(network, body)
    np.testing.assert_array_equal(network.BboxHead[0].conv1x1.weight.numpy(), heads)
    fresh = RetinaFace_ResNet50()
    assert started(path, fresh, weights=object()) == []  # the whole network has weights already
    assert not np.array_equal(fresh.body.conv1.weight.numpy(), body.conv1.weight.numpy())


def test_a_file_of_mindface(tmp_path, body):
    names = mindspore_names(body)
    assert "layer1.0.down_sample_layer.1.gamma" in names.values()
    content = {names[key]: tensor.numpy() for key, tensor in body.state_dict().items()}
    content["end_point.weight"] = np.ones((11, 2048), np.float32)
    path = tmp_path / "resnet50.ckpt"
    path.write_bytes(b"".join(parameter(name, value) for name, value in content.items()))
    network = RetinaFace_ResNet50()
    started(path, network)
    assert_body(network, body)


def test_weights_of_something_else(tmp_path, write_torch):
    path = write_torch(tmp_path / "other.pth", {"conv.weight": np.ones((2, 3), np.float32)})
    refused(lambda: started(path, RetinaFace_ResNet50()), path, "does not fit this Model")
