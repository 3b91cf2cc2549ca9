import numpy as np
import paddle
import pytest
from samples import on_image

from plsc.data.transforms.normalisation import split_normalisation
from plsc.data.transforms.standard import build_transforms

RNG = np.random.default_rng(0)
MEAN, STD = [0.5, 0.25, 0.4], [0.5, 0.3, 0.7]
NORMALIZE = {"NormalizeImage": {"scale": 1 / 255, "mean": MEAN, "std": STD}}
FIRST = {"DecodeImage": {"channel_first": True}}


def after_decode(ops):
    """The transforms behind the first, and what they end in."""
    compose, normalisation = split_normalisation(build_transforms(ops))
    return compose.transforms, normalisation


@pytest.mark.parametrize(
    ("ops", "order"),
    [
        (["DecodeImage", NORMALIZE, "ToCHWImage"], "hwc"),
        (["DecodeImage", "ToCHWImage", NORMALIZE], "hwc"),
        ([FIRST, NORMALIZE], "chw"),
    ],
)
@pytest.mark.parametrize("kind", [np.asarray, paddle.to_tensor])
def test_a_batch_gets_what_each_image_would_have_got(ops, order, kind):
    images = RNG.integers(0, 256, (4, 6, 7, 3), dtype=np.uint8)
    whole = build_transforms(ops).transforms[1:]
    kept, normalisation = after_decode(ops)
    assert len(kept) == 1 and normalisation.colours_last == (order == "hwc")
    batch = images if order == "hwc" else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    result = normalisation(kind(batch))
    assert tuple(result.shape) == (4, 3, 6, 7)
    for image, got in zip(batch, np.asarray(result), strict=True):
        for transform in whole:
            image = on_image(transform)(image, RNG)
        assert got.dtype == np.float32 and np.array_equal(got, image)
    exact = (images.transpose(0, 3, 1, 2) / 255 - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(
        STD, (1, 3, 1, 1)
    )
    assert np.abs(np.asarray(result) - exact).max() < 1e-6


@pytest.mark.parametrize("kind", [np.asarray, paddle.to_tensor])
def test_equal_colours_are_the_same_to_the_bit(kind):
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    _, normalisation = after_decode(["DecodeImage", "NormalizeImage", "ToCHWImage"])
    expected = (every.astype(np.float32) * np.float32(1 / 255) - np.float32(0.5)) / np.float32(0.5)
    assert np.array_equal(np.asarray(normalisation(kind(every))), expected.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    "ops",
    [
        ["DecodeImage", "ToCHWImage"],
        ["DecodeImage"],
        [],
        ["DecodeImage", {"NormalizeImage": {"order": "chw"}}, "ToCHWImage"],
        ["DecodeImage", "ToCHWImage", {"NormalizeImage": {"order": "hwc"}}],
    ],
)
def test_other_pipelines_stay_whole(ops):
    kept, normalisation = after_decode(ops)
    assert normalisation is None and len(kept) == len(ops)
