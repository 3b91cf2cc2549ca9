import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plsc.data.transforms.degrade import KINDS, degrade, with_noise
from plsc.datatools.drawn_face.render import Identity, View, render_face

FACES = [render_face(Identity.sample(0, n), View.sample(0, n, 0))[0] for n in range(4)]


def generator(seed=0):
    return np.random.default_rng(seed)


def flat(shape=(112, 112, 3), grey=128):
    return np.full(shape, grey, np.uint8)


def distance(first, second):
    """Root of the mean square, grey levels."""
    return math.sqrt(np.square(first.astype(float) - second).mean())


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_severity_0_is_the_image_in_memory_of_its_own(self, kind):
        result = degrade(FACES[0], kind, 0, generator())
        np.testing.assert_array_equal(result, FACES[0])
        assert not np.shares_memory(result, FACES[0])

    @pytest.mark.parametrize("face", range(len(FACES)))
    def test_the_picture_moves_away_from_the_original_with_severity(self, kind, face):
        severities = np.linspace(0, 1, 11)
        away = [
            distance(degrade(FACES[face], kind, severity, generator(face)), FACES[face])
            for severity in severities
        ]
        assert away[0] == 0 and away[-1] > 10
        # A crop that moves over another bright part may come nearer for a while.
        steps = np.diff(away)
        assert (steps > 0).all() if kind != "crop" else (steps > -2).all()

    @settings(max_examples=10)
    @given(
        severity=st.floats(0, 1),
        seed=st.integers(0, 9),
        shape=st.tuples(st.integers(8, 130), st.integers(8, 130)),
    )
    def test_keeps_shape_and_input_and_follows_the_generator(self, kind, severity, seed, shape):
        image = generator(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
        before = image.copy()
        result = degrade(image, kind, severity, generator(seed))
        assert result.dtype == np.uint8 and result.shape == image.shape
        np.testing.assert_array_equal(image, before)
        np.testing.assert_array_equal(result, degrade(image, kind, severity, generator(seed)))

    @pytest.mark.parametrize("severity", [-0.1, 1.1, math.nan])
    def test_another_severity_is_refused(self, kind, severity):
        with pytest.raises(ValueError, match="severity must be from 0 to 1"):
            degrade(FACES[0], kind, severity, generator())


def test_another_kind_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="blur, noise, darkness, crop, got 'fog'"):
        degrade(FACES[0], "fog", 0.5, generator())


@pytest.mark.parametrize("severity, sigma", [(0.1, 1.4), (0.5, 7.0)])
def test_blur_is_a_gaussian_of_the_stated_width(severity, sigma):
    image = flat(grey=0)
    image[:, 56:] = 200
    row = degrade(image, "blur", severity, generator())[50, :, 0] / 200
    away = np.arange(112) - 55.5
    wanted = [0.5 * (1 + math.erf(x / (sigma * math.sqrt(2)))) for x in away]
    np.testing.assert_allclose(row, wanted, atol=0.015)


def test_blur_is_wider_in_a_larger_picture():
    small, large = FACES[0], cv2.resize(FACES[0], (224, 224), interpolation=cv2.INTER_CUBIC)
    shrunk = cv2.resize(degrade(large, "blur", 0.6, generator()), (112, 112))
    assert distance(shrunk, degrade(small, "blur", 0.6, generator())) < 2


@pytest.mark.parametrize("severity, sigma", [(0.05, 9.0), (0.15, 27.0)])
def test_noise_has_the_stated_deviation_and_no_pattern(severity, sigma):
    noise = degrade(flat(), "noise", severity, generator()).astype(float) - 128
    assert abs(noise.mean()) < 0.03 * sigma and abs(noise.std() / sigma - 1) < 0.03
    neighbours = [
        np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1],
        np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1],
    ]
    assert np.abs(neighbours).max() < 0.03


def test_noise_grows_without_changing_its_pattern():
    weak = with_noise(flat(), 5, generator()).astype(float) - 128
    strong = with_noise(flat(), 20, generator()).astype(float) - 128
    np.testing.assert_allclose(strong, 4 * weak, atol=2.6)


@pytest.mark.parametrize("severity, light", [(0.5, math.sqrt(0.015)), (1.0, 0.015)])
def test_darkness_is_a_factor_on_the_light(severity, light):
    image = generator().integers(0, 256, (40, 30, 3), dtype=np.uint8)
    wanted = np.rint(image * light)
    assert np.abs(degrade(image, "darkness", severity, generator()) - wanted).max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_a_crop_loses_part_of_the_face_and_is_black_outside(seed):
    image = flat(grey=200)
    image[52:60, 52:60] = (255, 0, 0)
    crop = degrade(image, "crop", 1.0, generator(seed))
    y, x = np.nonzero(np.ptp(crop, axis=2) > 128)
    # A quarter of 112 pixels, enlarged by 1.3.
    assert math.hypot(y.mean() - 55.5, x.mean() - 55.5) == pytest.approx(36.4, abs=1.5)
    assert len(x) == pytest.approx(64 * 1.3**2, rel=0.2)
    # Of a window of 86 pixels 15 lie outside; in a corner 7 of either side.
    assert 0.12 < (crop == 0).all(axis=2).mean() < 0.18


def test_crops_go_in_every_direction():
    image = np.zeros((112, 112, 3), np.uint8)
    image[..., 0] = np.arange(112)[:, None]
    image[..., 1] = np.arange(112)[None]
    image[..., 2] = 1
    moved = set()
    for seed in range(40):
        part = degrade(image, "crop", 0.3, generator(seed))
        inside = part[..., 2] > 0
        down, right = (part[..., axis][inside].mean() > 55.5 for axis in (0, 1))
        moved.add((bool(down), bool(right)))
    assert len(moved) == 4
