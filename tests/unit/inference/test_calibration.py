"""The calibration that a model carries: damaged text, and images prepared otherwise."""

import json

import numpy as np
import pytest

from plsc.errors import UserError
from plsc.inference.calibration import read_calibration, require_alike
from plsc.inference.model_info import ModelInfo
from plsc.inference.quality_calibration import Calibration

INFO = ModelInfo(
    path="m.onnx",
    kind="onnx",
    dim=512,
    size=(112, 112),
    colour_order="RGB",
    mean=(127.5,) * 3,
    std=(127.5,) * 3,
)
FOUND = Calibration.fit(np.arange(10, 40), set_name="set", prepared=INFO.preparation)


def test_text_of_a_model():
    assert read_calibration("", "m.onnx") is None
    assert read_calibration(json.dumps(FOUND.to_dict()), "m.onnx") == FOUND


@pytest.mark.parametrize("text", ["{", "[", "nothing", "{}", "3", "[" * 100_000, "\x00", "null"])
def test_damaged_text(text):
    with pytest.raises(UserError, match=r"^m\.onnx: .*quality calibration") as failure:
        read_calibration(text, "m.onnx")
    assert len(str(failure.value)) < 200 and "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mean": (0.0,) * 3}, "made with --mean 127.5, the images are prepared with 0: give"),
        ({"std": (1.0, 2.0, 3.0)}, "--std 127.5, the images are prepared with 1 2 3"),
        ({"colour_order": "BGR"}, "--colour-order RGB, the images are prepared with BGR"),
        ({"size": (112, 96)}, "--size 112, the images are prepared with 112 96"),
    ],
)
def test_images_prepared_otherwise(changed, said):
    require_alike(FOUND, INFO.preparation)
    require_alike(Calibration.fit(np.arange(10, 40)), INFO.preparation)
    with pytest.raises(UserError, match=said):
        require_alike(FOUND, INFO.preparation | changed)
