"""What transforms make of pixels, in numbers: held to the transforms themselves."""

import cv2
import numpy as np
import pytest
from samples import on_image

from plsc.data.transforms.input_pixels import InputPixels, input_pixels
from plsc.data.transforms.standard import build_transforms
from plsc.errors import UserError

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "scale": "1.0/255.0"}
USUAL = {"scale": "1.0/255.0", "mean": [0.5] * 3, "std": [0.5] * 3}


@pytest.mark.parametrize(
    "ops",
    [
        [{"DecodeImage": {"to_rgb": True}}, {"NormalizeImage": USUAL}, {"ToCHWImage": None}],
        [{"DecodeImage": {"to_rgb": False}}, {"NormalizeImage": IMAGENET}, "ToCHWImage"],
        ["DecodeImage", "ToCHWImage", {"NormalizeImage": {**IMAGENET, "order": "chw"}}],
        ["DecodeImage", {"NormalizeImage": USUAL}, {"NormalizeImage": {"scale": 3}}, "ToCHWImage"],
        ["DecodeImage", "ToCHWImage"],
    ],
)
def test_the_numbers_do_what_the_transforms_do(ops):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)  # BGR, as files have it
    encoded = cv2.imencode(".png", pixels)[1].tobytes()
    expected = on_image(build_transforms(ops))(encoded, np.random.default_rng(0))
    found = input_pixels(ops)
    ordered = pixels if found.colour_order == "BGR" else pixels[..., ::-1]
    values = (ordered - np.array(found.mean)) / np.array(found.std)
    np.testing.assert_allclose(values.transpose(2, 0, 1), expected, rtol=1e-5, atol=1e-5)


def test_neat_numbers():
    ops = ["DecodeImage", {"RandFlipImage": None}, {"NormalizeImage": USUAL}, "ToCHWImage"]
    assert input_pixels(ops) == InputPixels("RGB", (127.5,) * 3, (127.5,) * 3) == InputPixels()
    imagenet = input_pixels(["DecodeImage", {"NormalizeImage": IMAGENET}])
    assert imagenet.mean == (123.675, 116.28, 103.53)
    assert imagenet.std == (58.395, 57.12, 57.375)
    assert str(input_pixels(["DecodeImage"]).mean) == "(0.0, 0.0, 0.0)"


def test_a_wrong_list_is_named():
    with pytest.raises(
        UserError, match=r"Train\.ops\.1\.NormaliseImage: no transform is called 'Normalise"
    ):
        input_pixels(["DecodeImage", "NormaliseImage"], "Train.ops")
