"""Element types of tensor files, and floating types to one another."""

import numpy as np

from plsc.files.rounding import decode, round_nearest

# Name as numpy or paddle has it -> name in a safetensors file, numpy type of the bytes there.
# numpy has no bfloat16: such values travel as their 16 bits.
TYPES: dict[str, tuple[str, np.dtype]] = {
    name: (short, np.dtype(stored))
    for name, short, stored in [
        ("float64", "F64", "<f8"),
        ("float32", "F32", "<f4"),
        ("float16", "F16", "<f2"),
        ("bfloat16", "BF16", "<u2"),
        ("int64", "I64", "<i8"),
        ("int32", "I32", "<i4"),
        ("int16", "I16", "<i2"),
        ("int8", "I8", "|i1"),
        ("uint64", "U64", "<u8"),
        ("uint32", "U32", "<u4"),
        ("uint16", "U16", "<u2"),
        ("uint8", "U8", "|u1"),
        ("bool", "BOOL", "|b1"),
    ]
}
NAMES = {short: name for name, (short, _) in TYPES.items()}
FLOATS = ("float64", "float32", "float16", "bfloat16")


def as_type(values: np.ndarray, source: str, target: str) -> np.ndarray:
    """Return values stored as floating type `source`, stored as `target`: the nearest there are."""
    assert source in FLOATS and target in FLOATS, (source, target)
    return values if source == target else round_nearest(decode(values), target)
