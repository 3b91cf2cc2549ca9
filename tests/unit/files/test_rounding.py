"""Half precision without bias: statistics against the exact expectation, and what plain does."""

import numpy as np
import paddle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plsc.files.rounding import LIMITS, decode, random_bits, round_nearest, round_unbiased
from plsc.recognition.heads.device_rounding import random_bits_on_device, round_unbiased_on_device

HALVES = sorted(LIMITS)
DRAWS = 1 << 16


def on_device(values, dtype, key):
    rounded = round_unbiased_on_device(paddle.to_tensor(values), dtype, key)
    return rounded.numpy()


def on_host(values, dtype, key):
    return round_unbiased(values, dtype, random_bits(key, values.size))


PLACES = pytest.mark.parametrize("rounded", [on_host, on_device])
# Between 1 and 2, at both sides of a power of two, small; float16's subnormal numbers and those
# below its smallest one.
MAGNITUDES = [1.0001, 1.9999, 0.99999, 2.00001, 0.0123, 6.1e-5, 6.2e-5, 1.23e-5, 1.1e-7, 2e-8]


@pytest.mark.parametrize("dtype", HALVES)
@PLACES
def test_the_mean_is_the_value(rounded, dtype):
    values = np.array([s * m for m in MAGNITUDES for s in (1, -1)], np.float32)
    drawn = decode(rounded(np.tile(values, (DRAWS, 1)), dtype, (1, 2)))
    for value, column in zip(values, drawn.T.astype("float64"), strict=True):
        found = np.unique(column)
        nearest = float(decode(round_nearest(np.array([value]), dtype))[0])
        assert len(found) <= 2 and nearest in found
        step = np.ptp(found) if len(found) == 2 else 0.0
        # Besides chance: float16 looks at 13 bits below a step.
        error = 4 * column.std() / DRAWS**0.5 + step / 8192
        assert abs(column.mean() - value) <= error + 1e-12 * abs(value), value
        assert abs(column - value).max() <= step


@pytest.mark.parametrize("dtype", HALVES)
@PLACES
def test_small_updates_add_up(rounded, dtype):
    """A weight of 1 and 400 updates of 2e-4, of which rounding to the nearest loses each."""
    plain = np.ones(256, np.float32)
    unbiased = plain.copy()
    for step in range(400):
        plain = decode(round_nearest(plain - np.float32(2e-4), dtype))
        unbiased = decode(rounded(unbiased - np.float32(2e-4), dtype, (7, step)))
    assert (plain == 1).all()
    assert unbiased.mean() == pytest.approx(0.92, abs=0.005)


@pytest.mark.parametrize("dtype", HALVES)
@PLACES
def test_what_can_be_expressed_stays(rounded, dtype):
    every = np.arange(1 << 16, dtype=np.uint16)
    values = decode(every.view(np.float16) if dtype == "float16" else every)
    numbers = values[~np.isnan(values)]
    for key in range(3):
        np.testing.assert_array_equal(decode(rounded(numbers, dtype, (key,))), numbers)
    np.testing.assert_array_equal(decode(round_nearest(numbers, dtype)), numbers)
    assert np.isnan(decode(rounded(values[np.isnan(values)], dtype, (0,)))).all()
    assert np.isnan(decode(round_nearest(values[np.isnan(values)], dtype))).all()


@pytest.mark.parametrize("dtype", HALVES)
@PLACES
def test_nothing_finite_becomes_infinite(rounded, dtype):
    limit = np.float32(LIMITS[dtype])
    largest = np.finfo(np.float32).max
    values = np.array([largest, -largest, np.nextafter(limit, np.float32(np.inf)), limit])
    values = np.tile(values.astype(np.float32), 64)
    expected = np.sign(values) * limit
    np.testing.assert_array_equal(decode(rounded(values, dtype, (3,))), expected)
    np.testing.assert_array_equal(decode(round_nearest(values, dtype)), expected)
    # every bit of the mantissa set: adding to it must not turn it into a number
    wrong = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001], np.uint32).view(np.float32)
    assert np.isnan(decode(rounded(np.tile(wrong, 64), dtype, (4,)))).all()
    assert np.isnan(decode(round_nearest(wrong, dtype))).all()


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(HALVES))
def test_nearest_is_nearest(value, dtype):
    """bfloat16 against Paddle's conversion, float16 against numpy's."""
    values = np.array([value], np.float32).clip(-LIMITS[dtype], LIMITS[dtype])
    if dtype == "float16":
        expected = values.astype(np.float16)
    else:
        expected = paddle.to_tensor(values).astype("bfloat16").numpy()
    np.testing.assert_array_equal(round_nearest(values, dtype), expected)


@pytest.mark.parametrize("bits", [random_bits, lambda *a: random_bits_on_device(*a).numpy()])
def test_random_bits(bits):
    drawn = bits((5, 1), 1 << 18).astype(np.int64)
    assert drawn.min() >= 0 and drawn.max() < 1 << 16
    np.testing.assert_array_equal(bits((5, 1), 1001), drawn[:1001])
    other = bits((5, 2), 1 << 18).astype(np.int64)
    sigma = (1 << 18) ** -0.5
    for shift in range(16):
        ones, others = (drawn >> shift) & 1, (other >> shift) & 1
        assert abs(ones.mean() - 0.5) < 2.5 * sigma
        for a, b in ((ones[1:], ones[:-1]), (ones[512:], ones[:-512]), (ones, others)):
            assert abs((a == b).mean() - 0.5) < 2.5 * sigma  # 5 standard deviations
    counts = np.bincount(drawn >> 6, minlength=1024)
    chi_square = ((counts - 256.0) ** 2 / 256).sum()
    assert abs(chi_square - 1023) < 5 * (2 * 1023) ** 0.5
