"""What travels with weights: of the config they were trained with, old checkpoints included."""

import json

import pytest
import yaml

from plsc import __version__
from plsc.config.load import parse_config
from plsc.data.transforms.input_pixels import trained_on
from plsc.errors import UserError
from plsc.recognition.description import describe_model, metadata

BGR = [
    {"DecodeImage": {"to_rgb": False}},
    {"NormalizeImage": {"scale": 1, "mean": [104, 117, 123], "std": [1, 1, 1]}},
    {"ToCHWImage": None},
]


def tree(train=None, evaluate=None):
    sampler = {"batch_size": 2}
    dataset = {"name": "FaceIdentificationDataset", "image_root": "i", "cls_label_path": "l"}
    loader = {}
    for name, ops in (("Train", train), ("Eval", evaluate)):
        if ops is not None:
            loader[name] = {"dataset": dataset | {"transform_ops": ops}, "sampler": sampler}
    return {"Model": {"name": "QuickFace_nano", "num_features": 16}, "DataLoader": loader}


def described(**loaders):
    return describe_model(16, trained_on(parse_config(tree(**loaders))))


def test_the_usual():
    assert described() == {
        "color_order": "RGB",
        "mean": "127.5",
        "std": "127.5",
        "input_size": "112x112",
        "alignment_template": (
            "38.2946,51.6963 73.5318,51.5014 56.0252,71.7366 41.5493,92.3655 70.7299,92.2041"
        ),
        "embedding_size": "16",
        "plsc_version": __version__,
    }


@pytest.mark.parametrize(
    ("loaders", "bgr"),
    [
        ({"train": BGR}, True),
        ({"evaluate": BGR}, True),
        ({"train": BGR, "evaluate": []}, True),
        ({"train": [], "evaluate": BGR}, False),
    ],
)
def test_the_training_set_counts_first(loaders, bgr):
    found = described(**loaders)
    expected = ("BGR", "104 117 123", "1") if bgr else ("RGB", "127.5", "127.5")
    assert (found["color_order"], found["mean"], found["std"]) == expected


def test_of_a_checkpoint():
    own, exported_with = parse_config(tree(train=BGR)), parse_config(tree())
    measured = {"thresholds": {"set": "lfw", "far": {"0.001": 0.3}}, "quality": {"version": 1}}
    state = {"config": own.to_dict(), **measured}
    before = json.dumps(state)
    said = metadata(state, exported_with, num_features=16, source="latest")
    assert said["color_order"] == "BGR"
    assert {name: json.loads(said[name]) for name in measured} == measured
    trained = parse_config(yaml.safe_load(said["config"]))
    assert trained == own
    assert json.dumps(state) == before
    newer = metadata(state | {"model": {"mean": "1"}}, own, num_features=16, source="latest")
    assert newer["mean"] == "1" and "config" in newer


def test_without_a_config_in_the_checkpoint():
    fallback = parse_config(tree(train=BGR))
    assert metadata({}, fallback, num_features=16, source="w")["color_order"] == "BGR"
    with pytest.raises(UserError, match=r"^latest: the config in its state.json: Modl: unknown"):
        metadata({"config": {"Modl": {}}}, fallback, num_features=16, source="latest")
