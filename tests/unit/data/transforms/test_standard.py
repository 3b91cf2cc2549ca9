import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from samples import on_image

from plsc.data.transforms.standard import (
    BadImage,
    DecodeImage,
    NormalizeImage,
    RandFlipImage,
    ToCHWImage,
    build_transforms,
)
from plsc.errors import UserError

RGB = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
RNG = np.random.default_rng(0)


def encoded(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


class Draws:
    """A generator that draws one number."""

    def __init__(self, number):
        self.number = number

    def random(self):
        return self.number


def test_decode_gives_the_colours_in_the_order_asked_for():
    assert np.array_equal(on_image(DecodeImage())(encoded(RGB), RNG), RGB)
    assert np.array_equal(on_image(DecodeImage(to_rgb=False))(encoded(RGB), RNG), RGB[:, :, ::-1])
    first = on_image(DecodeImage(channel_first=True))(encoded(RGB), RNG)
    assert np.array_equal(first, RGB.transpose(2, 0, 1)) and first.flags.c_contiguous


@pytest.mark.parametrize("to_rgb", [True, False])
def test_grey_and_transparent_images_have_three_channels(to_rgb):
    grey = on_image(DecodeImage(to_rgb=to_rgb))(encoded(RGB[:, :, 0]), RNG)
    assert np.array_equal(grey, np.dstack([RGB[:, :, 0]] * 3))
    opaque = np.dstack([RGB, np.full((112, 112), 255, np.uint8)])
    assert np.array_equal(on_image(DecodeImage())(encoded(opaque), RNG), RGB)


def test_decode_jpeg_like_an_independent_decoder():
    smooth = cv2.GaussianBlur(RGB, (0, 0), 4)
    file = encoded(smooth, "JPEG", quality=95)
    theirs = np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)
    assert np.abs(on_image(DecodeImage())(file, RNG).astype(int) - theirs).max() <= 3


THUMBNAIL = b"\xff\xe1\x00\x0cExif" + b"\xff\xd8\xff\xda\xff\xd9"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "empty"),
        (b"not an image", "cannot be decoded"),
        (encoded(RGB, "JPEG")[:-2], "JPEG is cut short"),
        (encoded(RGB, "JPEG")[:2000], "JPEG is cut short"),
        (encoded(RGB, "JPEG")[:2] + THUMBNAIL + encoded(RGB, "JPEG")[2:2000], "JPEG is cut short"),
        (encoded(RGB)[:-12], "PNG is cut short"),
        (encoded(RGB, "BMP")[:2000], "cannot be decoded"),
    ],
)
def test_what_is_no_whole_image_is_refused(file, message):
    with pytest.raises(BadImage, match=message):
        on_image(DecodeImage())(file, RNG)


def test_bytes_behind_the_end_of_an_image_do_no_harm():
    for kind in ("JPEG", "PNG"):
        file = encoded(RGB, kind)
        assert np.array_equal(
            on_image(DecodeImage())(file + bytes(7), RNG), on_image(DecodeImage())(file, RNG)
        )


@pytest.mark.parametrize(
    ("flip_code", "expected"), [(1, RGB[:, ::-1]), (0, RGB[::-1]), (-1, RGB[::-1, ::-1])]
)
def test_flip(flip_code, expected):
    before = RGB.copy()
    flip = on_image(RandFlipImage(flip_code=flip_code))
    assert np.array_equal(flip(RGB, Draws(0.4999)), expected)
    assert np.array_equal(flip(RGB, Draws(0.5)), RGB)
    assert np.array_equal(RGB, before)


def test_flip_mirrors_half_of_the_images():
    flip, rng = on_image(RandFlipImage()), np.random.default_rng(1)
    mirrored = sum(not np.array_equal(flip(RGB, rng), RGB) for _ in range(1000))
    assert 450 < mirrored < 550


def test_flip_refuses_colours_first():
    with pytest.raises(UserError, match="RandFlipImage must stand before"):
        on_image(RandFlipImage())(RGB.transpose(2, 0, 1), RNG)


MEAN, STD = (0.5, 0.25, 0.1), (0.5, 0.3, 0.2)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("order", ["", "hwc", "chw"])
def test_normalise_equals_float64(order, dtype):
    normalise = on_image(NormalizeImage(scale=1 / 255, mean=MEAN, std=STD, order=order))
    reference = (RGB.astype(np.float64) / 255 - np.array(MEAN)) / np.array(STD)
    layouts = [(RGB, reference)] if order != "chw" else []
    if order != "hwc":
        layouts.append((RGB.transpose(2, 0, 1), reference.transpose(2, 0, 1)))
    for image, expected in layouts:  # one after the other: nothing is kept of the first shape
        result = normalise(image.astype(dtype), RNG)
        assert result.dtype == np.float32
        assert np.abs(result - expected).max() < 2e-6
    assert np.abs(normalise(layouts[-1][0][..., :50, :50], RNG)).max() > 0 or order == "hwc"


def test_normalise_leaves_its_input_alone():
    image = RGB.astype(np.float32)
    on_image(NormalizeImage())(image, RNG)
    assert np.array_equal(image, RGB)


@pytest.mark.parametrize(
    ("parameters", "image", "message"),
    [
        ({"order": "chw"}, RGB, r"order is 'chw', the image has shape \[112, 112, 3\]"),
        ({"order": "hwc"}, RGB.transpose(2, 0, 1), "order is 'hwc'"),
        ({}, RGB[:, :, 0], r"3 colours, got shape \[112, 112\]"),
    ],
)
def test_normalise_refuses_another_layout(parameters, image, message):
    with pytest.raises(UserError, match=message):
        on_image(NormalizeImage(**parameters))(image, RNG)


def test_normalise_refuses_a_zero_deviation():
    with pytest.raises(UserError, match=r"std must not hold 0, got \[0.5, 0, 0.5\]"):
        NormalizeImage(std=(0.5, 0, 0.5))


def test_to_chw():
    result = on_image(ToCHWImage())(RGB, RNG)
    assert np.array_equal(result, np.stack([RGB[:, :, channel] for channel in range(3)]))
    assert result.flags.c_contiguous


def test_the_transforms_of_the_published_configs():
    """Numbers as the YAML files write them; (x / 255 - 0.5) / 0.5, colours first."""
    ops = [
        {"DecodeImage": {"to_rgb": True, "channel_first": False}},
        {"RandFlipImage": {"flip_code": 1}},
        {
            "NormalizeImage": {
                "scale": "1.0/255.0",
                "mean": [0.5, 0.5, 0.5],
                "std": [0.5, 0.5, 0.5],
                "order": "",
            }
        },
        {"ToCHWImage": None},
    ]
    transforms = on_image(build_transforms(ops))
    for draw, pixels in [(0.9, RGB), (0.1, RGB[:, ::-1])]:
        result = transforms(encoded(pixels), Draws(draw))
        expected = (RGB.transpose(2, 0, 1).astype(np.float64) / 255 - 0.5) / 0.5
        assert result.dtype == np.float32 and np.abs(result - expected).max() < 1e-6


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ([{"DecodImage": None}], r"transform_ops\.0\.DecodImage: .*did you mean 'DecodeImage'"),
        (["ToCHWImage", {"DecodeImage": {"rgb": True}}], r"ops\.1\.DecodeImage\.rgb: unknown key"),
        ([{"RandFlipImage": {"flip_code": 2}}], r"ops\.0\.RandFlipImage\.flip_code must be one of"),
        ([{"NormalizeImage": {"mean": [0.5]}}], r"NormalizeImage\.mean must hold 3 values"),
        ([{"DecodeImage": None, "ToCHWImage": None}], r"ops\.0 must be one name"),
        ({"DecodeImage": None}, r"transform_ops must be a list"),
    ],
)
def test_a_wrong_list_of_transforms_is_named(ops, message):
    with pytest.raises(UserError, match=message):
        build_transforms(ops)


def test_an_impossible_size_in_a_header_is_a_bad_image():
    image = bytearray(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    image[16:24] = struct.pack(">II", 100_000, 100_000)
    image[29:33] = struct.pack(">I", zlib.crc32(image[12:29]))
    with pytest.raises(BadImage, match="claims 100000x100000 pixels"):
        on_image(DecodeImage())(bytes(image), np.random.default_rng(0))


IMAGE = np.arange(4 * 10 * 3, dtype=np.uint8).reshape(4, 10, 3)  # 10 wide, 4 high
BOXES = np.array([[0, 0, 10, 4], [1, 2, 4, 3], [-2.5, 0, 0.5, 9]], np.float32)
MIRRORED_BOXES = [[0, 0, 10, 4], [6, 2, 9, 3], [9.5, 0, 12.5, 9]]
# Left eye, right eye, nose, left and right corner of the mouth; of a second face none is known.
POINTS = np.array([[[2, 1], [5, 1.5], [3, 2], [2.5, 3], [4, 3.5]], [[np.nan] * 2] * 5])
MIRRORED_POINTS = [[[5, 1.5], [8, 1], [7, 2], [6, 3.5], [7.5, 3]], [[np.nan] * 2] * 5]


def test_a_mirror_moves_boxes_and_landmarks():
    sample = {"image": IMAGE, "boxes": BOXES, "points": POINTS, "count": 3}
    before = {name: np.copy(value) for name, value in sample.items()}
    result = RandFlipImage()(sample, Draws(0.1))
    assert result.keys() == sample.keys() and result["count"] == 3
    np.testing.assert_array_equal(result["image"], IMAGE[:, ::-1])
    np.testing.assert_array_equal(result["boxes"], MIRRORED_BOXES)
    np.testing.assert_array_equal(result["points"], MIRRORED_POINTS)
    assert result["boxes"].dtype == np.float32
    for name, value in before.items():
        np.testing.assert_array_equal(sample[name], value)
    back = RandFlipImage()(result, Draws(0.1))
    np.testing.assert_array_equal(back["points"], POINTS)
    untouched = RandFlipImage()(sample, Draws(0.6))
    np.testing.assert_array_equal(untouched["boxes"], BOXES)


def test_a_mirror_moves_no_boxes_where_there_are_none():
    sample = {"image": IMAGE, "boxes": BOXES[:0], "points": POINTS[:0]}
    result = RandFlipImage()(sample, Draws(0.1))
    assert (result["boxes"].shape, result["points"].shape) == ((0, 4), (0, 5, 2))


@pytest.mark.parametrize("draw", [0.1, 0.9])
@pytest.mark.parametrize(
    ("op", "places", "message"),
    [
        (
            {"RandFlipImage": {"flip_code": 0}},
            ["boxes"],
            "flip_code 0 moves .* not its boxes:",
        ),
        ({"RandFlipImage": {"flip_code": -1}}, ["points"], "flip_code -1 moves .* not its points:"),
        ("RandCropImage", ["boxes", "points"], "RandCropImage moves .* not its boxes and points:"),
    ],
)
def test_what_would_leave_boxes_behind_is_refused_whatever_is_drawn(op, places, message, draw):
    known = {"boxes": BOXES, "points": POINTS}
    transform = build_transforms([op])
    with pytest.raises(UserError, match=message):
        transform({"image": IMAGE, **{name: known[name] for name in places}}, Draws(draw))


def test_a_mirror_does_not_guess_which_points_are_left_and_right():
    with pytest.raises(UserError, match=r"five landmarks of faces, \[n, 5, 2\], got \[2, 3, 2\]"):
        RandFlipImage()({"image": IMAGE, "points": POINTS[:, :3]}, Draws(0.9))


@pytest.mark.parametrize("op", ["RandBlurImage", "RandHSVImage", "RandErasingImage", "ToCHWImage"])
def test_what_moves_no_pixels_keeps_boxes(op):
    result = build_transforms([op])({"image": IMAGE, "boxes": BOXES, "points": POINTS}, RNG)
    assert result["boxes"] is BOXES and result["points"] is POINTS
