"""DecodeImage gives the same colours with and without a decoder of OpenCV that gives RGB."""

import cv2
import numpy as np
import pytest
from samples import on_image

from plsc.data.transforms import standard as transforms
from plsc.data.transforms.standard import DecodeImage

RNG = np.random.default_rng(4)
NOISE = RNG.integers(0, 256, (112, 112, 4), dtype=np.uint8)
SMOOTH = cv2.GaussianBlur(NOISE, (0, 0), 5)
IMAGES = {
    "jpeg": (".jpg", SMOOTH[..., :3]),
    "grey jpeg": (".jpg", SMOOTH[..., 0]),
    "png": (".png", NOISE[..., :3]),
    "grey png": (".png", NOISE[..., 0]),
    "png with transparency": (".png", NOISE),
    "png of 16 bits": (".png", RNG.integers(0, 2**16, (112, 112, 3), dtype=np.uint16)),
    "bmp": (".bmp", NOISE[..., :3]),
    "webp": (".webp", SMOOTH[..., :3]),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("newer", [True, False])
def test_red_comes_first_with_every_opencv(name, newer, monkeypatch):
    if newer and not hasattr(cv2, "IMREAD_COLOR_RGB"):
        pytest.skip("this OpenCV has no decoder that gives RGB")
    monkeypatch.setattr(transforms, "RGB_FLAG", cv2.IMREAD_COLOR_RGB if newer else cv2.IMREAD_COLOR)
    suffix, pixels = IMAGES[name]
    encoded = cv2.imencode(suffix, pixels)[1].tobytes()
    blue_first = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(on_image(DecodeImage())(encoded, RNG), blue_first[..., ::-1])
    assert np.array_equal(on_image(DecodeImage(to_rgb=False))(encoded, RNG), blue_first)
    assert "grey" in name or not np.array_equal(blue_first, blue_first[..., ::-1])
