"""Read a MindSpore checkpoint (`.ckpt`), without MindSpore.

The file is a Protocol Buffers message: a sequence of parameters, each with a name and a tensor of
dimensions, a type's name and raw bytes, little-endian. A large parameter comes in several pieces
that carry one name. A checksum may follow, `crc_num` and ten bytes.
"""

import math
import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.files.mapped_file import map_file, regular

PARAMETER, NAME, TENSOR = 1, 1, 2  # numbers of fields, of a file and of a parameter
DIMENSION, TYPE, CONTENT = 1, 2, 3  # and of a tensor
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5  # how a field is written
MAX_VARINT_BYTES, MAX_DIMENSIONS = 10, 16
CHECKSUM, CHECKSUM_BYTES = b"crc_num", 10
DTYPES = {
    "Bool": "b1",
    **{f"{sign}Int{bits}": f"{kind}{bits // 8}"
       for sign, kind in (("", "i"), ("U", "u")) for bits in (8, 16, 32, 64)},
    "Float16": "f2",
    "BFloat16": "u2",  # the upper half of a float32
    "Float32": "f4",
    "Float64": "f8",
}  # fmt: skip


@dataclass(frozen=True)
class MindSporeTensor:
    """A parameter in a file, or what has been read of it.

    Attributes:
        shape: its extents.
        type_name: MindSpore's name of its type.
        pieces: of its bytes, in order.

    """

    shape: tuple[int, ...]
    type_name: str
    pieces: list[memoryview] = field(default_factory=list)

    @property
    def num_bytes(self) -> int:
        """Return how many bytes the shape and type need."""
        return math.prod(self.shape) * np.dtype(DTYPES[self.type_name]).itemsize

    def array(self) -> NDArray[np.generic]:
        """Return the values, in memory of their own; bfloat16 as float32."""
        values = np.frombuffer(b"".join(self.pieces), np.dtype(f"<{DTYPES[self.type_name]}"))
        if self.type_name == "BFloat16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.reshape(self.shape)


class _Damaged(Exception):
    """The bytes are no such message; as text the reason."""


def is_mindspore_file(path: str | Path) -> bool:
    """Tell whether the file begins like a checkpoint of MindSpore: with a parameter, its name."""
    with open(path, "rb", opener=regular) as file:
        start = memoryview(file.read(64))
    try:
        _, position = _varint(start, 1, len(start))
    except _Damaged:
        return False
    first = PARAMETER << 3 | LENGTH
    return (
        len(start) > 0
        and start[0] == first
        and position < len(start)
        and start[position] == NAME << 3 | LENGTH
    )


def load_mindspore(path: str | Path) -> dict[str, MindSporeTensor]:
    """Return the tensors of a checkpoint by name; text and tables are left out.

    Raises:
        UserError: missing, truncated, encrypted or damaged file; the message names it and the
            reason.

    """
    data = map_file(path, "file")
    try:
        return _parameters(data)
    except _Damaged as error:
        raise UserError(
            f"{path}: truncated, encrypted or damaged, or no checkpoint of MindSpore: {error}"
        ) from None


def _parameters(data: mmap.mmap) -> dict[str, MindSporeTensor]:
    view = memoryview(data)
    stop = _without_checksum(view)
    found: dict[str, MindSporeTensor] = {}
    for number, value in _fields(view, 0, stop):
        if number != PARAMETER or not isinstance(value, memoryview):
            raise _Damaged(f"field {number} where parameters should be")
        name, tensor = _parameter(value)
        if tensor is None:
            continue
        known = found.setdefault(name, tensor)
        if known is not tensor:
            if (known.shape, known.type_name) != (tensor.shape, tensor.type_name):
                raise _Damaged(f"{name} in pieces of several shapes or types")
            known.pieces.extend(tensor.pieces)
    for name, tensor in found.items():
        there = sum(map(len, tensor.pieces))
        if there != tensor.num_bytes:
            raise _Damaged(f"{name} has {there} bytes, its shape needs {tensor.num_bytes}")
    if not found:
        raise _Damaged("it holds no tensors")
    return found


def _without_checksum(view: memoryview) -> int:
    """Return where the message ends; check the checksum behind it, if there is one."""
    stop = len(view) - len(CHECKSUM) - CHECKSUM_BYTES
    if stop <= 0 or bytes(view[stop : stop + len(CHECKSUM)]) != CHECKSUM:
        return len(view)
    if int.from_bytes(view[-CHECKSUM_BYTES:], "big") != zlib.crc32(view[:stop]):
        raise _Damaged("its checksum is another")
    return stop


def _parameter(message: memoryview) -> tuple[str, MindSporeTensor | None]:
    name, tensor = "", None
    for number, value in _fields(message, 0, len(message)):
        if number == NAME and isinstance(value, memoryview):
            name = _text(value)
        elif number == TENSOR and isinstance(value, memoryview):
            tensor = _tensor(value)
    return name, tensor


def _tensor(message: memoryview) -> MindSporeTensor | None:
    """Return a tensor, or a piece of one; None for text."""
    shape: list[int] = []
    type_name, content = "", memoryview(b"")
    for number, value in _fields(message, 0, len(message)):
        if number == DIMENSION:
            shape += [value] if isinstance(value, int) else _packed(value)
        elif number == TYPE and isinstance(value, memoryview):
            type_name = _text(value)
        elif number == CONTENT and isinstance(value, memoryview):
            content = value
        if len(shape) > MAX_DIMENSIONS:
            raise _Damaged(f"a tensor of more than {MAX_DIMENSIONS} dimensions")
    if type_name == "str":
        return None
    if type_name not in DTYPES:
        raise _Damaged(f"a tensor of type {type_name[:40]!r}")
    # A scalar is written with the one dimension 0.
    return MindSporeTensor(() if shape == [0] else tuple(shape), type_name, [content])


def _packed(values: memoryview) -> list[int]:
    found: list[int] = []
    position = 0
    while position < len(values) and len(found) <= MAX_DIMENSIONS:
        value, position = _varint(values, position, len(values))
        found.append(value)
    return found


def _text(value: memoryview) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError:
        raise _Damaged("a name that is not text") from None


def _fields(view: memoryview, start: int, stop: int) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field of a message; nothing is copied."""
    position = start
    while position < stop:
        key, position = _varint(view, position, stop)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, position = _varint(view, position, stop)
            yield number, value
            continue
        if kind == LENGTH:
            size, position = _varint(view, position, stop)
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            size = 8 if kind == EIGHT_BYTES else 4
        else:
            raise _Damaged(f"a field of kind {kind} at byte {position}")
        if size > stop - position:
            raise _Damaged(f"{size} bytes are said to follow, there are {stop - position}")
        yield number, view[position : position + size]
        position += size


def _varint(view: memoryview, position: int, stop: int) -> tuple[int, int]:
    """Return the number at `position`, seven bits of it in each byte, and where it ends."""
    value = 0
    for count in range(MAX_VARINT_BYTES):
        if position + count >= stop:
            raise _Damaged("it ends within a number")
        byte = view[position + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, position + count + 1
    raise _Damaged(f"a number of more than {MAX_VARINT_BYTES} bytes")
