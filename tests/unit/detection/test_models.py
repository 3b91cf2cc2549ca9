"""The networks give what the published ones give, and read other people's files of weights."""

import json

import cv2
import numpy as np
import paddle
import pytest
from detectors import MEAN, figures, filled_detector, golden_images, outputs_of, share
from filled_nets import filled
from mindspore_files import parameter
from paddle.nn import functional as F
from places import SHARED_DATA
from refusals import refused
from torch_files import as_torch

from plsc.config.registry import DETECTORS
from plsc.detection.detections import detections_of
from plsc.detection.models import retinaface
from plsc.detection.models.retinaface import RetinaFace_MobileNet025, RetinaFace_ResNet50
from plsc.weights.mindspore_weights import mindspore_names
from plsc.weights.pretrained import take_weights
from plsc.weights.torch_weights import torch_names

NETS = {"mobilenet025": RetinaFace_MobileNet025, "resnet50": RetinaFace_ResNet50}
SIZES = [(160, 192), (168, 204), (150, 203)]
EVERY = 20  # anchors of the golden file


@pytest.fixture(scope="module", params=NETS)
def named_net(request):
    return request.param, filled_detector(NETS[request.param]())


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_outputs_are_the_published_ones(named_net, size):
    """At the second and third size maps have odd sides, where padding and enlarging show."""
    name, net = named_net
    found, golden = outputs_of(net, golden_images(7, 1, *size)), figures("networks.npz")
    prefix = f"{name}_{size[0]}x{size[1]}"
    for ours, theirs in (("bbox", "bbox"), ("landmark", "landm")):
        assert share(found[ours][0, ::EVERY], golden[f"{prefix}_{theirs}"]) <= 2e-5
    logits = paddle.to_tensor(golden[f"{prefix}_logit"])
    expected = F.softmax(logits, axis=-1).numpy()
    assert share(found["score"][0, ::EVERY], expected) <= 2e-5


def test_keys_are_the_published_ones(named_net):
    name, net = named_net
    golden = figures("state_dict_keys.json")[name.replace("net0", "net0.")]["keys"]
    torch, mindspore = torch_names(net), mindspore_names(net)
    assert {torch[key][0]: mindspore[key] for key in net.state_dict()} == golden


def test_scores_are_logits_while_it_trains():
    net, images = filled_detector(RetinaFace_MobileNet025()), golden_images(7, 1, 32, 32)
    probabilities = outputs_of(net, images)["score"]
    for layer in net.sublayers(include_self=True):
        layer.training = layer is net
    logits = net(paddle.to_tensor(images))["score"]
    np.testing.assert_allclose(F.softmax(logits, axis=-1).numpy(), probabilities, atol=1e-5)
    assert (logits.numpy() < 0).any()


def test_stock_operators_give_the_same(monkeypatch):
    net, images = filled_detector(RetinaFace_MobileNet025()), golden_images(7, 2, 64, 96)
    own = outputs_of(net, images)
    monkeypatch.setenv("PLSC_STOCK_CPU", "1")
    for name, expected in outputs_of(net, images).items():
        assert share(own[name], expected) <= 2e-5


def test_the_registry_has_both():
    assert DETECTORS.names() == ["RetinaFace_MobileNet025", "RetinaFace_ResNet50"]


def state(net):
    return {key: value.numpy() for key, value in net.state_dict().items()}


def assert_same_state(net, other):
    for key, value in state(net).items():
        np.testing.assert_array_equal(value, state(other)[key], err_msg=key)


@pytest.mark.parametrize("form", ["plain", "module", "wrapped"])
def test_files_of_the_pytorch_original(tmp_path, write_torch, form):
    net = filled(RetinaFace_MobileNet025())
    content = as_torch(net, "" if form == "plain" else "module.")
    content = {"state_dict": content} if form == "wrapped" else content
    fresh = RetinaFace_MobileNet025()
    take_weights(str(write_torch(tmp_path / "final.pth", content)), fresh)
    assert_same_state(fresh, net)


def test_real_weights_find_real_faces():
    """What the PyTorch original found: the same faces, to half a pixel."""
    folder = SHARED_DATA / "photos"
    weights = SHARED_DATA / "retinaface_mobilenet025" / "mobilenet0.25_folded.pth"
    if not (folder.exists() and weights.exists()):
        pytest.skip("the photographs and weights (../shared/data) are not here")
    net = RetinaFace_MobileNet025()
    take_weights(str(weights), net)
    for name, expected in json.loads((folder / "expected.json").read_text()).items():
        pixels = cv2.imread(str(folder / name), cv2.IMREAD_COLOR)
        images = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32) - MEAN
        outputs = {key: value[0] for key, value in outputs_of(net, images[None]).items()}
        found = detections_of(outputs, pixels.shape[:2], threshold=0.5)
        faces = expected["faces"]
        assert len(found.scores) == len(faces), name
        for row, face in enumerate(faces):
            np.testing.assert_allclose(found.boxes[row], face["box"], atol=0.5)
            np.testing.assert_allclose(found.landmarks[row], face["landmarks"], atol=0.5)
            assert abs(found.scores[row] - face["score"]) <= 0.002
        low = detections_of(outputs, pixels.shape[:2])
        assert len(low.scores) == expected["detections_above_0_02"], name


def checkpoint(net, *, prefix=""):
    """Return a detector as MindFace saves it, and what its training keeps beside."""
    names = mindspore_names(net)
    parts = [parameter(prefix + names[key], value) for key, value in state(net).items()]
    parts.append(parameter(f"{prefix}base.fc.weight", np.zeros((1000, 256), np.float32)))
    if prefix:
        first = next(iter(names.values()))
        parts.append(parameter(f"accum.{prefix}{first}", np.ones((8, 3, 3, 3), np.float32)))
        parts.append(parameter("learning_rate", np.float32(0.02)))
        parts.append(parameter("global_step", np.int32([7]), kind="Int32"))
    return b"".join(parts)


@pytest.mark.parametrize("prefix", ["", "network."])
def test_checkpoints_of_mindface(tmp_path, prefix):
    net, path = filled(RetinaFace_MobileNet025()), tmp_path / "RetinaFace-120_402.ckpt"
    path.write_bytes(checkpoint(net, prefix=prefix))
    fresh = RetinaFace_MobileNet025()
    notes = " ".join(take_weights(str(path), fresh).notes)
    assert_same_state(fresh, net)
    assert "base.fc.weight" in notes and ("learning_rate" in notes or "accum" in notes) == bool(
        prefix
    )


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    path = tmp_path / "other.ckpt"
    path.write_bytes(checkpoint(RetinaFace_ResNet50()))
    refused(lambda: take_weights(str(path), RetinaFace_MobileNet025()), "does not fit this Model")


def test_parts_that_mindface_calls_otherwise_are_used():
    """A name in the table that no key has any more would be left over from a rename."""
    parts = {part for net in NETS.values() for key in net().state_dict() for part in key.split(".")}
    assert set(retinaface.MINDFACE_PARTS) <= parts
