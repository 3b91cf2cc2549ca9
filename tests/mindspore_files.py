"""Checkpoints of MindSpore, written without it."""

import numpy as np


def varint(value):
    head = b""
    while value >= 0x80:
        head, value = head + bytes([value & 0x7F | 0x80]), value >> 7
    return head + bytes([value])


def message(*fields):
    """(number, int or bytes), ... as Protocol Buffers have them."""
    return b"".join(
        varint(number << 3) + varint(value) if isinstance(value, int)
        else varint(number << 3 | 2) + varint(len(value)) + value
        for number, value in fields
    )  # fmt: skip


def parameter(name, array, *, pieces=1, kind="Float32"):
    """Return a parameter as MindSpore writes it: a scalar has the one dimension 0."""
    found, flat = b"", np.ravel(array)
    for part in np.array_split(flat, pieces):
        tensor = message(
            *((1, size) for size in (array.shape or (0,))), (2, kind.encode()), (3, part.tobytes())
        )
        found += message((1, message((1, name.encode()), (2, tensor))))
    return found
