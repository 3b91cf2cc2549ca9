import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import on_image
from scipy.ndimage import correlate1d

from plsc.config.registry import TRANSFORMS
from plsc.data.transforms.augment import (
    RandBlurImage,
    RandCropImage,
    RandDownUpImage,
    RandErasingImage,
    RandGreyImage,
    RandHSVImage,
    RandomChange,
)
from plsc.data.transforms.standard import build_transforms
from plsc.errors import UserError

NAMES = [
    name
    for name in TRANSFORMS.names()
    if inspect.isclass(TRANSFORMS.get(name, ""))
    and issubclass(TRANSFORMS.get(name, ""), RandomChange)
]
NOISE = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
RAMP = np.stack(  # red grows to the right, green downwards: a pixel tells where it came from
    [*np.meshgrid(np.arange(112) * 2, np.arange(112) * 2), np.full((112, 112), 90)], axis=2
).astype(np.uint8)
ONE_STEP = 1.0  # OpenCV works with weights of a few binary places
YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def built(name, **parameters):
    return on_image(build_transforms([{name: parameters}]))


def rng(seed=0):
    return np.random.default_rng(seed)


def test_all_of_arcface_torch_and_three_more_are_registered():
    assert set(NAMES) == {
        "RandDownUpImage", "RandBlurImage", "RandHSVImage", "RandGreyImage", "RandErasingImage",
        "RandCropImage", "RandDistortImage",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_same_shape_same_generator_same_image(name):
    before = NOISE.copy()
    change = built(name, probability=1)
    results = [change(NOISE, rng(seed)) for seed in range(8)]
    again = [built(name, probability=1)(NOISE, rng(seed)) for seed in range(8)]
    for result, other in zip(results, again, strict=True):
        assert np.array_equal(result, other)
        assert result.shape == NOISE.shape and result.dtype == np.uint8
        assert not np.array_equal(result, NOISE) and not np.shares_memory(result, NOISE)
    assert np.array_equal(NOISE, before)
    distinct = {result.tobytes() for result in results}
    assert len(distinct) >= (1 if name == "RandGreyImage" else 2)


@pytest.mark.parametrize("name", NAMES)
def test_probability(name):
    never, sometimes = built(name, probability=0), built(name, probability=0.3)
    draws = rng(3)
    assert all(np.array_equal(never(NOISE, draws), NOISE) for _ in range(200))
    changed = sum(not np.array_equal(sometimes(NOISE, draws), NOISE) for _ in range(600))
    assert 130 < changed < 230  # 180 expected, standard deviation 11


@pytest.mark.parametrize("name", NAMES)
def test_default_probability(name):
    expected = {"RandBlurImage": 0.2, "RandHSVImage": 0.2, "RandCropImage": 0.2}
    expected |= {"RandDownUpImage": 0.1, "RandGreyImage": 0.1, "RandErasingImage": 0.5}
    expected |= {"RandDistortImage": 1 - 0.5**4}  # each of its four changes by itself
    change, draws = built(name), rng(4)
    changed = sum(not np.array_equal(change(NOISE, draws), NOISE) for _ in range(1000))
    assert abs(changed / 1000 - expected[name]) < 0.06


@settings(max_examples=60)
@given(
    name=st.sampled_from(NAMES),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    mirrored=st.booleans(),
)
def test_any_size(name, height, width, seed, mirrored):
    image = rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = image[:, ::-1] if mirrored else image  # as a view, not in one piece
    result = built(name, probability=1)(image, rng(seed))
    assert result.shape == image.shape and result.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "image", [NOISE.transpose(2, 0, 1), NOISE.astype(np.float32), NOISE[:, :, 0]], ids=str
)
def test_the_wrong_place_in_the_list_is_refused_whatever_is_drawn(name, image):
    for probability in (0, 1):
        with pytest.raises(UserError, match=f"{name} takes uint8.*before NormalizeImage and ToCHW"):
            built(name, probability=probability)(image, rng())


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("RandBlurImage", {"probability": 1.1}, r"RandBlurImage\.probability must be a number at"),
        ("RandBlurImage", {"radius": [0, 2]}, r"radius must be .* at least 1"),
        ("RandBlurImage", {"radius": [2, 1]}, r"RandBlurImage\.radius .*, got \[2, 1\]"),
        ("RandDownUpImage", {"scale": [0, 0.5]}, r"scale must be .* above 0 and at most 1"),
        ("RandDownUpImage", {"scale": [0.8, 0.5]}, "lower bound and the upper one"),
        ("RandHSVImage", {"saturation": [-1, 1]}, r"saturation must be .* at least 0"),
        ("RandErasingImage", {"area": [0.02, 1.5]}, r"area must be"),
        ("RandErasingImage", {"aspect": [0, 1]}, r"aspect must be"),
        ("RandErasingImage", {"fill": "black"}, r"fill must be one of 'noise', 'grey'"),
        ("RandCropImage", {"scale": 0.8}, r"scale must be a list|scale must be a tuple"),
        ("RandGreyImage", {"p": 0.1}, r"RandGreyImage\.p: unknown key"),
    ],
)
def test_wrong_parameters_are_named(name, parameters, message):
    with pytest.raises(UserError, match=message):
        built(name, **parameters)


def test_grey_is_the_weighted_mean():
    result = on_image(RandGreyImage(probability=1))(NOISE, rng()).astype(float)
    expected = NOISE @ np.array([0.299, 0.587, 0.114])
    assert np.abs(result - expected[:, :, None]).max() < ONE_STEP
    assert np.ptp(result, axis=2).max() == 0


@pytest.mark.parametrize(("hue", "saturation"), [(0, 1.2), (20, 1), (-35, 0.6), (180, 1), (0, 0)])
def test_hsv_is_a_rotation_in_yiq(hue, saturation):
    change = on_image(
        RandHSVImage(probability=1, hue=(hue, hue), saturation=(saturation, saturation))
    )
    chroma = (YIQ[1] + 1j * YIQ[2]) @ NOISE.reshape(-1, 3).T.astype(float)
    turned = chroma * saturation * np.exp(-1j * np.deg2rad(hue))
    yiq = np.stack([NOISE.reshape(-1, 3) @ YIQ[0], turned.real, turned.imag])
    expected = np.clip(np.linalg.solve(YIQ, yiq).T.reshape(NOISE.shape), 0, 255)
    assert np.abs(change(NOISE, rng()) - expected).max() < ONE_STEP


def test_hsv_leaves_grey_alone_and_keeps_the_brightness():
    change = on_image(RandHSVImage(probability=1, hue=(-180, 180), saturation=(0, 2)))
    grey = np.repeat(NOISE[:, :, :1], 3, axis=2)
    assert all(np.array_equal(change(grey, rng(seed)), grey) for seed in range(20))
    muted = (100 + NOISE // 8).astype(np.uint8)  # so that nothing is cut off
    for seed in range(20):
        before, after = muted @ YIQ[0], change(muted, rng(seed)) @ YIQ[0]
        assert np.abs(before - after).max() < 1
    still = on_image(RandHSVImage(probability=1, hue=(0, 0), saturation=(1, 1)))
    assert np.array_equal(still(NOISE, rng()), NOISE)


def test_hue_turns_pure_colours_the_way_of_the_colour_wheel():
    def turned(colour, hue):
        change = on_image(RandHSVImage(probability=1, hue=(hue, hue), saturation=(1, 1)))
        return change(np.full((1, 1, 3), colour, np.uint8), rng())[0, 0].astype(int)

    red = turned((200, 0, 0), 20)
    assert red[1] > 20 and red[2] == 0  # towards yellow
    green = turned((0, 200, 0), 20)
    assert green[2] > 10 and green[0] == 0  # towards cyan
    blue = turned((0, 0, 200), 20)
    assert blue[0] > 20  # towards magenta
    assert turned((200, 100, 100), -20)[2] > 100  # the other way: from red towards magenta


def test_hsv_draws_within_its_bounds():
    patch = np.full((1, 1, 3), (150, 110, 100), np.uint8)
    origin = (YIQ[1] + 1j * YIQ[2]) @ patch[0, 0].astype(float)
    change = on_image(RandHSVImage(probability=1))
    ratios = (
        np.array(
            [(YIQ[1] + 1j * YIQ[2]) @ change(patch, rng(s))[0, 0].astype(float) for s in range(300)]
        )
        / origin
    )
    angles, stretches = -np.rad2deg(np.angle(ratios)), np.abs(ratios)
    tolerance = 2.5  # degrees: colours are whole numbers
    assert -tolerance < angles.min() < 3 and 17 < angles.max() < 20 + tolerance
    assert 0.96 < stretches.min() < 1.03 and 1.17 < stretches.max() < 1.24


@pytest.mark.parametrize(("radius", "sigma"), [(1, 0.8), (2, 1.1), (4, 1.7)])
def test_blur_is_a_convolution(radius, sigma):
    result = on_image(RandBlurImage(probability=1, radius=(radius, radius)))(NOISE, rng())
    window = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    expected = NOISE.astype(float)
    for axis in (0, 1):  # "mirror": about the centre of the outermost pixel
        expected = correlate1d(expected, window / window.sum(), axis=axis, mode="mirror")
    assert np.abs(result - expected).max() < 1.1


def test_blur_draws_both_radii_alike():
    expected = [
        on_image(RandBlurImage(probability=1, radius=(r, r)))(NOISE, rng()).tobytes()
        for r in (1, 2)
    ]
    change, draws = on_image(RandBlurImage(probability=1)), rng(5)
    found = [expected.index(change(NOISE, draws).tobytes()) for _ in range(400)]
    assert 150 < sum(found) < 250


def test_down_up_keeps_what_fewer_pixels_can_show():
    change = on_image(RandDownUpImage(probability=1))
    stripes = np.zeros((112, 112, 3), np.uint8)
    stripes[:, ::2] = 255  # two pixels per period: finer than any of the small images
    for seed in range(20):
        assert np.abs(change(RAMP, rng(seed)).astype(int) - RAMP).max() <= 3
        assert change(stripes, rng(seed)).std() < 0.6 * stripes.std()
    whole = on_image(RandDownUpImage(probability=1, scale=(1, 1)))
    assert np.array_equal(whole(NOISE, rng()), NOISE)


def test_down_up_by_half_is_the_mean_of_four_pixels():
    change = on_image(RandDownUpImage(probability=1, scale=(0.5, 0.5)))
    blocks = NOISE[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)  # equal in squares of 2 x 2
    small = NOISE[::2, ::2].astype(float)
    padded = np.pad(small, ((1, 1), (1, 1), (0, 0)), mode="edge")
    above = 0.75 * padded[1:-1] + 0.25 * padded[:-2]  # of the even rows; 1/4 pixel above centre
    expected = 0.75 * above[:, 1:-1] + 0.25 * above[:, :-2]
    result = change(blocks, rng())
    assert np.abs(result[::2, ::2] - expected).max() <= 1


def erased(change, seed, size=200):
    """Height and width of the rectangle that is not 50 any more."""
    image = np.full((size, size, 3), 50, np.uint8)
    touched = (change(image, rng(seed)) != 50).any(axis=2)
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert touched[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.99
    return rows[0], columns[0], height, width


def test_erased_rectangles_keep_their_bounds():
    found = np.array(
        [erased(on_image(RandErasingImage(probability=1)), seed) for seed in range(400)]
    )
    top, left, height, width = found.T
    share, aspect = height * width / 200**2, height / width
    assert 0.018 < share.min() < 0.04 and 0.28 < share.max() < 0.335
    assert 0.28 < aspect.min() < 0.4 and 2.5 < aspect.max() < 3.5
    assert 160 < (aspect > 1).sum() < 240  # tall as often as wide
    for start, side in ((top, height), (left, width)):  # anywhere
        free = side < 200
        assert abs(np.mean(start[free] / (200 - side[free])) - 0.5) < 0.06


def test_what_fills_an_erased_rectangle():
    inside = {}
    for fill in ("noise", "grey"):
        change = on_image(RandErasingImage(probability=1, area=(1, 1), aspect=(1, 1), fill=fill))
        inside[fill] = change(np.full((112, 112, 3), 50, np.uint8), rng())
    assert (inside["grey"] == 127).all()
    counts = np.bincount(inside["noise"].ravel(), minlength=256)
    assert counts.min() > 90 and counts.max() < 210  # 147 expected of each of 256 values
    assert (np.ptp(inside["noise"], axis=2) > 0).mean() > 0.99  # colours, not greys


def test_a_rectangle_that_never_fits_leaves_the_image():
    change = on_image(RandErasingImage(probability=1, area=(1, 1), aspect=(3, 3.3)))
    assert np.array_equal(change(NOISE, rng()), NOISE)


def test_a_crop_shows_a_part_in_its_proportions():
    change = on_image(RandCropImage(probability=1))
    shares, tops, lefts = [], [], []
    for seed in range(300):
        result = change(RAMP, rng(seed)).astype(float)
        width = (result[56, 100, 0] - result[56, 11, 0]) / 2 / 89 * 112  # pixels of the original
        height = (result[100, 56, 1] - result[11, 56, 1]) / 2 / 89 * 112
        assert abs(width - height) < 2.5
        shares.append(width * height / 112**2)
        lefts.append(result[56, 0, 0] / 2)
        tops.append(result[0, 56, 1] / 2)
    assert 0.77 < min(shares) < 0.83 and 0.97 < max(shares) < 1.03
    for moved in (tops, lefts):
        assert min(moved) < 1 and 9 < max(moved) <= 13
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.7


def test_a_crop_of_all_is_the_image():
    assert np.array_equal(on_image(RandCropImage(probability=1, scale=(1, 1)))(NOISE, rng()), NOISE)


def test_all_of_them_in_one_list():
    ops = [{"RandFlipImage": None}, *({name: {"probability": 0.5}} for name in NAMES)]
    transforms = on_image(build_transforms(ops))
    results = [transforms(NOISE, rng(seed)) for seed in range(30)]
    assert {(result.shape, result.dtype) for result in results} == {(NOISE.shape, NOISE.dtype)}
    assert len({result.tobytes() for result in results}) > 25
