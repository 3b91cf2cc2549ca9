"""Measures of quality: what each rises and falls with."""

import cv2
import numpy as np
import pytest

from plsc.data.sets.base import BadImage
from plsc.data.sets.open import open_pairs
from plsc.quality.measures import (
    IMAGE_MEASURES,
    brightness,
    contrast,
    magnitude,
    measure_images,
    random,
    sharpness,
)


@pytest.fixture
def grey():
    """A picture with edges of all sizes around middle grey."""
    noise = np.random.default_rng(1).normal(0, 1, (112, 112))
    field = sum(s * cv2.GaussianBlur(noise, (0, 0), s) for s in (1, 2, 4, 8))
    return np.clip(127.5 + 40 * field / field.std(), 0, 255).astype(np.uint8)


def test_blur_lowers_sharpness(grey):
    blurred = [cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (0.7, 1.5, 3)]
    scores = [sharpness(image) for image in (grey, *blurred)]
    assert scores == sorted(scores, reverse=True) and scores[-1] < scores[0] / 50
    assert sharpness(np.full((9, 9), 80, np.uint8)) == 0


def test_sharpness_is_the_variance_of_the_laplacian(grey):
    padded = np.pad(grey.astype(float), 1, mode="reflect")
    laplacian = (
        padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    ) - 4 * padded[1:-1, 1:-1]
    assert sharpness(grey) == pytest.approx(laplacian.var())


def test_too_dark_is_as_bad_as_too_bright():
    levels = [brightness(np.full((4, 4), level, np.uint8)) for level in (0, 64, 127, 128, 191, 255)]
    assert levels == [-127.5, -63.5, -0.5, -0.5, -63.5, -127.5]


def test_contrast_is_the_spread_of_levels(grey):
    half = np.zeros((8, 8), np.uint8)
    half[:4] = 255
    assert contrast(half) == 0.5 and contrast(half // 5) == 0.1
    assert contrast((grey // 2 + 60).astype(np.uint8)) < contrast(grey)


def test_magnitude_is_the_length():
    assert magnitude(np.float32([[3, 4], [0, 0], [-5, 12]])).tolist() == [5, 0, 13]


def test_the_control_is_the_same_every_time():
    assert (random(9) == random(9)).all() and (random(9) != random(9, seed=1)).all()
    assert len(set(random(99))) == 99


@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_of_a_set(tiny_faces, num_workers):
    """In the order of the pairs, whoever reads them."""
    pairs = open_pairs(tiny_faces / "pairs.txt")
    names = ["contrast", "sharpness"]
    found = measure_images(pairs, names, num_workers=num_workers)
    assert list(found) == names
    for row in range(len(pairs)):
        place = str(tiny_faces / pairs.names(row)[0])
        image = cv2.imread(place, cv2.IMREAD_COLOR).astype(float)
        expected = np.rint(image @ [0.114, 0.587, 0.299]).astype(np.uint8)
        for name in names:
            assert found[name][row] == pytest.approx(IMAGE_MEASURES[name](expected), rel=0.01)


def test_an_image_that_is_none_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "list.txt").write_text("a.png\ta.png\t1\n")
    with pytest.raises(BadImage, match=r"a\.png \(.*pair 1\): .*cannot be decoded"):
        measure_images(open_pairs(tmp_path / "list.txt"), ["contrast"])
