"""PLSC's own backbones against the outputs, keys and sizes of PLSC itself."""

import inspect
import json
import re
import typing

import numpy as np
import paddle
import pytest
from filled_nets import golden_fill
from places import GOLDEN

from plsc.config.registry import BACKBONES

EMBEDDINGS = dict(np.load(GOLDEN / "backbones.npz"))
KEYS = json.loads((GOLDEN / "state_dict_keys.json").read_text())

# millions, affine BatchNorm parameters included, 512 features
PARAMETERS = {
    "IResNet18": 24.03,
    "IResNet34": 34.14,
    "IResNet50": 43.59,
    "IResNet100": 65.16,
    "IResNet200": 118.83,
    "FaceViT_tiny_patch9_112": 19.1,
    "FaceViT_small_patch9_112": 76.0,
    "FaceViT_base_patch9_112": 113.8,
    "FaceViT_large_patch9_112": 255.7,
}


def expand(template):
    """`a.{0..2}.{x,y}` -> the six keys that it stands for."""
    brace = re.search(r"\{([^}]*)\}", template)
    if brace is None:
        return [template]
    first, dots, last = brace[1].partition("..")
    options = range(int(first), int(last) + 1) if dots else brace[1].split(",")
    head, tail = template[: brace.start()], template[brace.end() :]
    return [key for option in options for key in expand(f"{head}{option}{tail}")]


def golden_images():
    pixels = np.random.RandomState(7).randint(0, 256, (2, 3, 112, 112))
    return paddle.to_tensor((pixels / 127.5 - 1).astype(np.float32))


class TestAgainstPlsc:
    @pytest.mark.parametrize("name", sorted(EMBEDDINGS))
    def test_embeddings_equal_in_every_format(self, name):
        builder = BACKBONES.get(name, "test")
        keys = {key: shape for each, shape in KEYS[name].items() for key in expand(each)}
        weights = {key: paddle.to_tensor(golden_fill(key, shape, 0)) for key, shape in keys.items()}
        formats = typing.get_args(inspect.signature(builder).parameters["data_format"].annotation)
        assert formats == (("NCHW",) if name.startswith("FaceViT") else ("NCHW", "NHWC"))
        for data_format in formats:
            backbone = builder(data_format=data_format)
            assert {key: value.shape for key, value in backbone.state_dict().items()} == keys
            assert backbone.set_state_dict(weights) == ([], [])
            backbone.eval()
            with paddle.no_grad():
                features = backbone(golden_images()).numpy()
            features /= np.linalg.norm(features, axis=1, keepdims=True)
            assert ((features * EMBEDDINGS[name]).sum(axis=1) > 0.99999).all()
            np.testing.assert_allclose(features, EMBEDDINGS[name], atol=1e-5)

    def test_braces_expand_to_all_keys(self):
        assert expand("a.{8..10}.{x,y}.z") == [
            "a.8.x.z", "a.8.y.z", "a.9.x.z", "a.9.y.z", "a.10.x.z", "a.10.y.z"
        ]  # fmt: skip
        counts = {name: sum(len(expand(each)) for each in keys) for name, keys in KEYS.items()}
        assert counts["IResNet100"] == 771  # as PLSC saves it, the head aside
        assert counts["MobileFaceNet_base"] == 283


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameters_counted(name):
    with paddle.LazyGuard():  # shapes without values: the large ones cost nothing
        backbone = BACKBONES.get(name, "test")()
    count = sum(
        value.size
        for key, value in backbone.state_dict().items()
        if not key.endswith(("._mean", "._variance"))
    )
    digits = 2 if name.startswith("IResNet") else 1
    assert round(count / 1e6, digits) == PARAMETERS[name]
