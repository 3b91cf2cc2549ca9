"""Configs against what weights were trained on."""

from functools import partial

import pytest
from samples import preparing

from plsc.config.load import parse_config
from plsc.data.transforms.input_pixels import InputPixels
from plsc.weights.preparation import preparation_notes
from plsc.weights.weights import Weights

PIXELS = InputPixels("BGR", mean=(0.0,) * 3, std=(255.0,) * 3)
MAGFACE = Weights("net.pth", {}, trained_on=PIXELS, trained_by="MagFace")


ops = partial(preparing, to_rgb=False, mean=0.0, std=1.0)


def config(train=None, evaluate=()):
    loader = {}
    dataset = {"name": "FaceRecordDataset", "root": "x"}
    pairs = {"name": "FaceVerificationBin", "bin_path": "x.bin"}
    if train is not None:
        sampler = {"batch_size": 2}
        loader["Train"] = {"dataset": dataset | {"transform_ops": train}, "sampler": sampler}
    if evaluate:
        sets = [pairs | ({"transform_ops": each} if each else {}) for each in evaluate]
        loader["Eval"] = {"dataset": sets, "sampler": {"batch_size": 2}}
    return parse_config({"Model": {"name": "QuickFace_nano"}, "DataLoader": loader})


@pytest.mark.parametrize(
    "same",
    [ops(), ops(scale=0.00392156862745), ops(std=255.0, scale=1.0), [*ops(), *ops(std=1.0)[:1]]],
)
def test_as_expected(same):
    (note,) = preparation_notes(MAGFACE, config(same, [same]))
    assert note.startswith("MagFace trained these weights on BGR, mean 0, std 255, as transform")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (ops(to_rgb=True), "gives RGB, mean 0, std 255; MagFace "),
        (ops(mean=0.5), "gives BGR, mean 127.5, std 255; MagFace "),
        (ops(std=0.5), "gives BGR, mean 0, std 127.5; MagFace "),
        (ops()[::2], "gives BGR, mean 0, std 1; MagFace "),
        (None, "gives RGB, mean 127.5, std 127.5; MagFace "),
    ],
)
def test_each_set_that_differs_is_named(other, said):
    found = preparation_notes(MAGFACE, config(ops(), [ops(), other]))
    assert len(found) == 1
    assert found[0].startswith(f"WARNING: DataLoader.Eval.dataset.1.transform_ops {said}")
    remedy = "set DecodeImage.to_rgb: False and NormalizeImage.mean: [0.0, 0.0, 0.0], std: [1.0, "
    assert remedy in found[0] and "\n" not in found[0]
    both = preparation_notes(MAGFACE, config(other or [], [other]))
    assert [line.split()[1].split(".")[1] for line in both] == ["Train", "Eval"]


def test_where_nothing_is_known_or_prepared():
    assert preparation_notes(Weights("net.pth", {}), config([])) == []
    assert preparation_notes(MAGFACE, config()) == []
