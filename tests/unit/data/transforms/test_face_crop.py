"""Parts of photographs with their faces are MindFace's, and so are their sizes."""

import json

import cv2
import numpy as np
import pytest
from refusals import refused

from plsc.data.transforms.face_crop import RandCropFaces, cut_faces
from plsc.data.transforms.sample import mirrored_places

FILL = (104, 117, 123)
EVERY = 8  # pixels of the golden images


@pytest.fixture
def figures(golden):
    folder = golden / "detection"
    arrays = dict(np.load(folder / "augmentation.npz"))
    return json.loads((folder / "augmentation.json").read_text()), arrays


@pytest.mark.parametrize("case", range(9))
def test_published_parts(figures, case):
    settings, arrays = figures[0]["augment"][case], figures[1]
    random, size = np.random.RandomState(settings["image_seed"]), settings["size"]
    shape = settings["height"], settings["width"], 3
    image, faces = random.randint(0, 256, shape).astype(np.uint8), arrays[f"aug{case}_faces"]
    points = np.where(faces[:, 14:] > 0, faces[:, 4:14], np.nan).reshape(-1, 5, 2)
    sample = {"image": image, "boxes": faces[:, :4], "points": points}
    found = cut_faces(sample, tuple(settings["crop_x_y_w_h"]), size=size, fill=FILL)
    if settings["flip"]:
        found = {**mirrored_places(found, size), "image": cv2.flip(found["image"], 1)}
    expected = arrays[f"aug{case}_targets"]
    assert len(found["boxes"]) == len(expected)
    np.testing.assert_allclose(found["boxes"] / size, expected[:, :4], atol=1e-5)
    known = expected[:, 14] > 0
    np.testing.assert_array_equal(np.isnan(found["points"]).any(axis=(1, 2)), ~known)
    places = found["points"].reshape(-1, 10)[known] / size
    np.testing.assert_allclose(places, expected[known, 4:14], atol=1e-5)
    pixels = found["image"].astype(np.float32)[::EVERY, ::EVERY] - FILL
    resized = max(settings["crop_x_y_w_h"][2:]) != size
    atol = 1 if resized else 0
    np.testing.assert_allclose(pixels.transpose(2, 0, 1), arrays[f"aug{case}_image"], atol=atol)


def test_sizes_of_parts(figures):
    """Shares and quantiles of the side as drawn by MindFace, over 4000 draws."""
    expected, random = figures[0]["crop_statistics"], np.random.default_rng(0)
    height, width = expected["height"], expected["width"]
    transform, boxes = RandCropFaces(), np.array(expected["faces"])
    drawn = [transform.candidates(height, width, boxes, random) for _ in range(expected["draws"])]
    sides = np.array([regions[0][2] / min(height, width) for regions in drawn if regions])
    assert 1 - len(sides) / len(drawn) == pytest.approx(expected["full_image_share"], abs=0.03)
    assert sides.mean() == pytest.approx(expected["mean_side_over_short_side"], abs=0.03)
    whole = expected["share_side_equals_short_side"]
    assert (sides == 1).mean() == pytest.approx(whole, abs=0.03)
    quantiles = np.quantile(sides, [0.1, 0.25, 0.5, 0.75, 0.9])
    np.testing.assert_allclose(quantiles, expected["quantiles_10_25_50_75_90"], atol=0.03)


@pytest.mark.parametrize("scale", [(0.3, 1.0), (0.3, 2.0), (1.5, 2.0)])
def test_faces_stay_on_the_picture(scale):
    """Each face is a white square on black: its box must still lie around the white."""
    random, transform = np.random.default_rng(1), RandCropFaces(size=96, scale=scale, whole=0.0)
    image = np.zeros((120, 200, 3), np.uint8)
    boxes = np.array([[20, 30, 60, 70], [150, 80, 180, 110]], np.float32)
    for left, top, right, bottom in boxes.astype(int):
        image[top:bottom, left:right] = 255
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    sample = {"image": image, "boxes": boxes, "points": np.repeat(centres, 5, axis=1)}
    for _ in range(40):
        found = transform(sample, random)
        assert found["image"].shape == (96, 96, 3) and len(found["boxes"]) >= 1
        white = (found["image"] > 200).all(axis=2)
        for box, points in zip(found["boxes"], found["points"], strict=True):
            left, top, right, bottom = np.round(box).astype(int)
            assert white[top + 2 : bottom - 2, left + 2 : right - 2].all()
            x, y = np.floor(points[0]).astype(int)
            assert white[y, x]
    assert sample["image"].shape == (120, 200, 3)  # what was given is as it was


def test_wide_parts_show_what_is_beyond_the_image():
    image = np.full((100, 100, 3), 255, np.uint8)
    sample = {"image": image, "boxes": np.array([[40.0, 40, 60, 60]])}
    found = RandCropFaces(size=100, scale=(2.0, 2.0), whole=0.0)(sample, np.random.default_rng(0))
    share = (found["image"] == FILL).all(axis=2).mean()
    assert share == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(found["boxes"][0, 2:] - found["boxes"][0, :2], 10)


def test_an_image_without_faces_to_cut_is_taken_whole():
    sample = {"image": np.zeros((50, 80, 3), np.uint8), "boxes": np.zeros((0, 4), np.float32),
              "points": np.zeros((0, 5, 2), np.float32)}  # fmt: skip
    found = RandCropFaces(size=64)(sample, np.random.default_rng(0))
    assert found["image"].shape == (64, 64, 3) and found["boxes"].shape == (0, 4)
    assert (found["image"][-1] == FILL).all()


def test_what_it_refuses():
    random, image = np.random.default_rng(0), np.zeros((9, 9, 3), np.uint8)
    refused(lambda: RandCropFaces()({"image": image}, random), "with boxes")
    refused(lambda: RandCropFaces(scale=(2.0, 1.0)), "RandCropFaces.scale")
