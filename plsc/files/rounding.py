"""Numbers stored in half the bits: float32 <-> float16 and bfloat16, without bias.

A class centre of 0.01 has neighbours 8e-6 (float16) or 6e-5 (bfloat16) away, and most updates are
smaller: rounded to the nearest, they would be lost, all of them. So a value goes to one of its two
neighbours at random, to the nearer with the greater probability, and is right on average.

numpy has no bfloat16: its bits are kept as uint16.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Stored = NDArray[Any]  # float32, float16, uint16 (the bits of bfloat16); float64 in tests
Bits = NDArray[np.uint16]

NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16),
    "float64": np.dtype(np.float64),
}
NAMES = {dtype: name for name, dtype in NUMPY_DTYPES.items()}
# The largest numbers there are. What is larger becomes one of them: an infinite centre would make
# every later loss NaN, while one that is too short is an error of its length alone.
LIMITS = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38}
EXPONENT = 0x7F80_0000
SMALLEST_NORMAL = 0x3880_0000  # float32's bits of 2^-14, below which float16 has steps of 2^-24


def random_bits(key: Sequence[int], count: int) -> Bits:
    """Draw [count] random bits, 16 each, by `key` alone, so that a resumed run draws alike.

    The generator's own words: a distribution of numpy would cost several times as much.
    """
    words = np.random.SFC64(np.random.SeedSequence(list(key))).random_raw(-(-count // 4))
    return words.view(np.uint16)[:count]


def round_unbiased(values: NDArray[Any], dtype: str, bits: Bits) -> Stored:
    """Return values [...] float32 as `dtype`; their mean over `bits` [values.size] is right.

    What `dtype` can express stays as it is, infinities and NaN too; finite values beyond its range
    become its largest.
    """
    return _rounded(values, dtype, bits.reshape(values.shape))


def round_nearest(values: NDArray[Any], dtype: str) -> Stored:
    """Return values as `dtype`, each the nearest; for values that are set once. Range as above."""
    if dtype not in LIMITS:
        return values.astype(NUMPY_DTYPES[dtype])
    return _rounded(values.astype(np.float32, copy=False), dtype, None)


def decode(stored: Stored, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return the stored numbers as float32 (float64 stays); in `out` if it is given."""
    if out is None:
        wide = np.float64 if stored.dtype == np.float64 else np.float32
        out = np.empty(stored.shape, wide)
    if stored.dtype == np.uint16:
        words = out.view(np.uint32)
        words[...] = stored
        words <<= 16
    else:
        out[...] = stored
    return out


def _rounded(values: NDArray[np.float32], dtype: str, bits: Bits | None) -> Stored:
    limit = np.float32(LIMITS[dtype])
    function = _bfloat16 if dtype == "bfloat16" else _float16
    if not values.size or (values.min() >= -limit and values.max() <= limit):  # False for NaN
        return function(values, bits)
    finite = np.isfinite(values)
    result = function(np.where(finite, values, 0).clip(-limit, limit), bits)
    others = values[~finite]
    if dtype == "bfloat16":
        result[~finite] = np.where(np.isnan(others), 0x7FC0, others.view(np.uint32) >> 16)
    else:
        result[~finite] = others
    return result


def _bfloat16(values: NDArray[np.float32], bits: Bits | None) -> Stored:
    """Return the upper half of float32's bits, after something has been added to the lower."""
    words = np.ascontiguousarray(values).view(np.uint32)
    if bits is None:
        sums = words + np.uint32(0x7FFF) + ((words >> np.uint32(16)) & np.uint32(1))  # ties to even
    else:
        sums = np.add(words, bits, dtype=np.uint32)
    sums >>= np.uint32(16)
    return sums.astype(np.uint16)


def _float16(values: NDArray[np.float32], bits: Bits | None) -> Stored:
    if bits is None:
        return values.astype(np.float16)
    words = np.ascontiguousarray(values).view(np.uint32)
    # 1024 float16 steps: the power of two at or below the value, or 2^-14 for what is smaller.
    scale = np.maximum(words & np.uint32(EXPONENT), np.uint32(SMALLEST_NORMAL)).view(np.float32)
    steps = values / scale
    steps *= 1024
    # 13 bits, which is what a float32 has below a step: so the sum is exact.
    steps += (bits >> np.uint16(3)) * np.float32(2**-13)
    np.floor(steps, out=steps)
    steps *= scale
    steps /= 1024
    return steps.astype(np.float16)
