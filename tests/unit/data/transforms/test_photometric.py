"""Light and colours change as told, and places do not."""

import numpy as np
import pytest

from plsc.data.transforms.photometric import RandDistortImage

GREY = np.full((4, 4, 3), 100, np.uint8)
STILL = {"brightness": 0.0, "contrast": (1, 1), "saturation": (1, 1), "hue": 0.0}


def values(settings, image, draws=60):
    transform, random = RandDistortImage(**{**STILL, **settings}), np.random.default_rng(0)
    return np.array([transform({"image": image}, random)["image"][0, 0] for _ in range(draws)])


@pytest.mark.parametrize(
    ("settings", "low", "high"),
    [({"brightness": 20.0}, 80, 120), ({"contrast": (0.5, 1.5)}, 50, 150)],
)
def test_light(settings, low, high):
    found = values(settings, GREY)
    assert found.min() >= low - 1 and found.max() <= high + 1
    assert found.min() < low + 10 and found.max() > high - 10
    assert 0.3 < (found[:, 0] == 100).mean() < 0.7  # every second time nothing happens
    assert (found == found[:, :1]).all()


def test_saturation_and_hue_leave_grey_as_it_is():
    assert (values({"saturation": (0.0, 2.0), "hue": 180.0}, GREY) == 100).all()


def test_colours_turn_and_fade():
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 2] = 200
    faded = values({"saturation": (0.0, 0.2)}, red)
    assert (faded[:, 2] == 200).all() and faded[:, 0].max() > 150
    turned = values({"hue": 60.0}, red)
    assert (turned.max(axis=1) == 200).all() and (turned[:, :2].max(axis=0) > 100).all()


def test_nothing_changes_without_settings():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    sample = {"image": image, "boxes": np.array([[1.0, 2, 3, 4]])}
    found = RandDistortImage(**STILL)(sample, np.random.default_rng(0))
    np.testing.assert_array_equal(found["image"], image)
    assert found["boxes"] is sample["boxes"]
