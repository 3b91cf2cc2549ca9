"""State dicts with the names of arcface_torch and MagFace, in networks of ours."""

import re

import numpy as np
import paddle
import pytest
from filled_nets import filled
from refusals import refused
from small_networks import small_face_vit
from torch_files import as_torch

from plsc.data.transforms.input_pixels import InputPixels
from plsc.recognition.models.iresnet import IResNet18
from plsc.recognition.models.mobilefacenet import MobileFaceNet_base
from plsc.recognition.models.small import QuickFace_nano
from plsc.weights.pretrained import find_weights, load_weights, take_weights
from plsc.weights.torch_weights import torch_names

NORM = ("weight", "bias", "running_mean", "running_var")


def vit():
    """All that the published ones have, small; its square matrices would fit untransposed, too."""
    return small_face_vit(64, 2, 16)


NETS = {
    "MobileFaceNet": lambda: MobileFaceNet_base(16),
    "FaceViT": vit,
    "QuickFace": lambda: QuickFace_nano(16),
}


@pytest.fixture
def quick():
    return filled(QuickFace_nano(16))


def equal(net, other):
    state = other.state_dict()
    return all(np.array_equal(value.numpy(), state[key].numpy()) for key, value in
               net.state_dict().items())  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_weights_come_back(tmp_path, write_torch, name, legacy):
    net = filled(NETS[name]())
    path = str(write_torch(tmp_path / "model.pt", as_torch(net), legacy=legacy))
    assert find_weights(path) == path
    fresh = NETS[name]()
    assert not equal(net, fresh)
    weights = take_weights(path, fresh)
    assert equal(net, fresh)
    assert weights.head(0, 5) == (0, None) and not weights.notes and not weights.folded_norms


def test_names_of_arcface_torch():
    """iresnet18's own, as its source builds them."""
    expected = {f"{name}.{part}" for name in ("bn1", "bn2", "features") for part in NORM}
    expected |= {"conv1.weight", "prelu.weight", "fc.weight", "fc.bias"}
    for layer in range(1, 5):
        for block in range(2):
            place = f"layer{layer}.{block}"
            expected |= {
                f"{place}.{norm}.{part}" for norm in ("bn1", "bn2", "bn3") for part in NORM
            }
            expected |= {f"{place}.{name}.weight" for name in ("conv1", "prelu", "conv2")}
        expected.add(f"layer{layer}.0.downsample.0.weight")
        expected |= {f"layer{layer}.0.downsample.1.{part}" for part in NORM}
    names = torch_names(IResNet18(2))
    assert {theirs for theirs, _ in names.values()} == expected
    assert names["layer1.0.prelu._weight"] == ("layer1.0.prelu.weight", False)
    assert [ours for ours, (_, transposed) in names.items() if transposed] == ["fc.weight"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3, "arch": "r50", "optimizer": {"state": {}}},
        lambda state: {"model": state},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"state_dict_backbone": state, "state_optimizer": {0: {"lr": 0.1}}},
    ],
)
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_wrappers_and_prefixes(tmp_path, write_torch, quick, wrap, prefix):
    fresh = QuickFace_nano(16)
    state = wrap(as_torch(quick, prefix))
    take_weights(str(write_torch(tmp_path / "a.pth", state)), fresh)
    assert equal(quick, fresh)


def test_half_precision(tmp_path, write_torch, quick):
    state = {name: array.astype(np.float16) for name, array in as_torch(quick).items()}
    fresh = QuickFace_nano(16)
    take_weights(str(write_torch(tmp_path / "a.pth", state)), fresh)
    for name, tensor in fresh.state_dict().items():
        assert tensor.dtype == paddle.float32
        expected = quick.state_dict()[name].numpy().astype(np.float16)
        np.testing.assert_array_equal(tensor.numpy(), expected.astype(np.float32))


@pytest.mark.parametrize("prefix", ["features.module.", "module.features."])
def test_magface_divides_by_another_epsilon(tmp_path, write_torch, quick, prefix):
    """sqrt(variance + epsilon) is what it was there; the class centres beside stay out."""
    state = as_torch(quick, prefix)
    state["parallel_fc.weight"] = np.ones((10, 16), np.float32)
    fresh = QuickFace_nano(16)
    weights = take_weights(str(write_torch(tmp_path / "a.pth", {"state_dict": state})), fresh)
    before, after = quick.state_dict(), fresh.state_dict()
    for name in before:
        difference = 2e-5 - 1e-5 if name.endswith("_variance") else 0
        found = after[name].numpy().astype(np.float64) - before[name].numpy()
        np.testing.assert_allclose(found, difference, atol=1e-7)
    assert "2e-05" in weights.notes[0]
    assert weights.trained_on == InputPixels("BGR", mean=(0.0,) * 3, std=(255.0,) * 3)
    assert weights.notes[1].startswith("1 tensors beside the network stay unread: parallel_fc")


def test_a_prefix_of_features_alone_is_not_magface(tmp_path, write_torch):
    """MobileFaceNet has parameters whose names begin so, with and without a wrapper."""
    net = filled(MobileFaceNet_base(16))
    for prefix in ("", "module."):
        fresh = MobileFaceNet_base(16)
        path = write_torch(tmp_path / "a.pth", as_torch(net, prefix))
        weights = take_weights(str(path), fresh)
        assert not weights.notes and weights.trained_on is None
        assert equal(net, fresh)


CENTRES = np.random.default_rng(0).normal(size=(11, 16)).astype(np.float32)


def write_ranks(folder, write_torch, net, sizes):
    first = 0
    for rank, size in enumerate(sizes):
        content = {
            "epoch": 2,
            "global_step": 77,
            "state_dict_backbone": as_torch(net, "module."),
            "state_dict_softmax_fc": {"weight": CENTRES[first : first + size]},
            "state_optimizer": {"state": {0: {"momentum_buffer": CENTRES}}},
        }
        write_torch(folder / f"checkpoint_gpu_{rank}.pt", content)
        first += size


@pytest.mark.parametrize("sizes", [[11], [6, 5], [1] * 11])
def test_checkpoints_of_arcface_torch(tmp_path, write_torch, quick, sizes, assert_pieces):
    """One file per rank: the backbone of any, the class centres of all."""
    write_ranks(tmp_path, write_torch, quick, sizes)
    fresh = QuickFace_nano(16)
    weights = take_weights(str(tmp_path / "checkpoint_gpu_0.pt"), fresh)
    assert equal(quick, fresh)
    for start, stop in ((0, 11), (0, 6), (5, 7), (9, 20)):
        count, pieces = weights.head(start, stop)
        assert count == 11
        assert_pieces(pieces, CENTRES[start:stop], start)


def test_a_rank_that_is_missing(tmp_path, write_torch, quick):
    write_ranks(tmp_path, write_torch, quick, [4, 4, 3])
    (tmp_path / "checkpoint_gpu_1.pt").unlink()
    path = str(tmp_path / "checkpoint_gpu_0.pt")
    refused(lambda: load_weights(path, quick), path, "[0, 2]")


def test_all_that_does_not_fit_is_named(tmp_path, write_torch, quick):
    state = as_torch(quick, "module.")
    state["module.stem.2.weight"] = state.pop("module.stem.0.weight")
    state["module.fc.weight"] = state["module.fc.weight"].T.copy()
    path = str(write_torch(tmp_path / "a.pth", state))
    text = refused(lambda: take_weights(path, QuickFace_nano(16)), path)
    assert "1 missing: stem.0.weight" in text and "1 unknown: stem.2.weight" in text
    assert "1 of another shape: fc.weight [16, 4704] instead of [4704, 16]" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3, "arch": "r50"}, "but: epoch, arch"),
        ({"state_dict": {"epoch": 3}}, "but: epoch"),
        ({}, "but: nothing"),
        ([1, 2], "but: list"),
        ("text", "but: str"),
    ],
)
def test_no_state_dict_in_it(tmp_path, write_torch, content, words):
    path = str(write_torch(tmp_path / "a.pth", content))
    refused(lambda: load_weights(path, QuickFace_nano(16)), path, "holds no state dict", words)


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"text")
    refused(lambda: find_weights(str(path)), "a.pth", ".pdparams", ".onnx", "torch.save")
    refused(lambda: find_weights(str(tmp_path)), "state.json", ".pth or .onnx")
    assert re.search("state.json", refused(lambda: find_weights(str(tmp_path / "b.pth"))))
