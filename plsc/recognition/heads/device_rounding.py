"""Round without bias in Paddle's operations, for rows that never leave the device.

The functions mirror `rounding.round_unbiased`, which works in numpy.
"""

from collections.abc import Sequence

import numpy as np
import paddle
from paddle import Tensor

from plsc.files.rounding import EXPONENT, LIMITS, SMALLEST_NORMAL

WORD = 0xFFFF_FFFF
MULTIPLIERS = (0x7FEB_352D, 0x46CA_68BB)  # odd, and below 2^31: products stay below 2^63


def random_bits_on_device(key: Sequence[int], count: int) -> Tensor:
    """Return [count] random integers below 2^16, int32; a function of `key` alone.

    The integers are hashes of 0, 1, 2... made by shifts, exclusive ors and multiplications. Paddle
    has only a global generator, and a draw from it would change the masks of dropout.
    """
    first, second = (int(word) for word in np.random.SeedSequence(list(key)).generate_state(2))
    words = paddle.arange(-(-count // 2), dtype="int64") + first
    words = _mixed(_mixed(words, MULTIPLIERS[0]) + second, MULTIPLIERS[1])
    halves = [paddle.bitwise_and(words, paddle.full([1], 0xFFFF, "int64")), words // 65536]
    return paddle.stack(halves, axis=1).astype("int32").flatten()[:count]


def _mixed(words: Tensor, multiplier: int) -> Tensor:
    words = paddle.bitwise_and(words, paddle.full([1], WORD, "int64"))
    words = paddle.bitwise_xor(words, words // 65536) * multiplier
    words = paddle.bitwise_and(words, paddle.full([1], WORD, "int64"))
    return paddle.bitwise_xor(words, words // 32768)


def round_unbiased_on_device(values: Tensor, dtype: str, key: Sequence[int]) -> Tensor:
    """Round float32 values [n, d] to `dtype`; see rounding.round_unbiased."""
    limit = LIMITS[dtype]
    bounded = values.clip(-limit, limit)
    bits = random_bits_on_device(key, values.size).reshape(values.shape)
    words = bounded.view("int32")
    if dtype == "bfloat16":
        high = paddle.full([1], -65536, "int32")
        rounded = paddle.bitwise_and(words + bits, high).view("float32")
    else:
        exponent = paddle.bitwise_and(words, paddle.full([1], EXPONENT, "int32"))
        scale = exponent.clip(min=SMALLEST_NORMAL).view("float32")
        draws = (bits // 8).astype("float32") * 2.0**-13
        rounded = paddle.floor(bounded / scale * 1024.0 + draws) * scale / 1024.0
    return paddle.where(paddle.isfinite(values), rounded, values).astype(dtype)
