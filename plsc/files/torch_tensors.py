"""Inert stand-ins for the names in a pickle of torch while it is loaded."""

import math
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from plsc.files.pickled_arrays import MOST_EXTENT, STAND_INS, Refused, StandIn

DTYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",  # the upper half of a float32
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}
MAX_DIMENSIONS = 16


class _Inert:
    """Stands for something of torch; a pickle can neither alter it nor look inside."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __setstate__(self, state: Any) -> NoReturn:
        raise Refused("it alters a tensor or a type")


class StorageType(_Inert):
    """Stands for a class like torch.FloatStorage, by its name."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name


class Storage(_Inert):
    """Numbers that one or more tensors are views of; read once, when they are needed.

    Attributes:
        type_name: torch's class of storages.
        numel: how many.
        num_bytes: of all of them in the file.

    """

    __slots__ = ("_read", "_stored", "_values", "_widen", "num_bytes", "numel", "type_name")

    def __init__(
        self, type_name: str, numel: int, *, big_endian: bool, read: Callable[[int], bytes]
    ):
        self._stored = np.dtype((">" if big_endian else "<") + DTYPES[type_name])
        self.type_name, self._widen = type_name, type_name == "BFloat16Storage"
        self.numel, self.num_bytes = numel, numel * self._stored.itemsize
        self._read = read
        self._values: NDArray[Any] | None = None

    def values(self) -> NDArray[Any]:
        """Return [numel], read-only, in native byte order; bfloat16 as float32."""
        if self._values is None:
            values = np.frombuffer(self._read(self.num_bytes), self._stored, self.numel)
            values = values.astype(self._stored.newbyteorder("="), copy=False)
            if self._widen:
                values = (values.astype(np.uint32) << 16).view(np.float32)
            self._values = values
        return self._values


class TorchTensor(_Inert):
    """A tensor in a file: a view of one of its storages.

    Attributes:
        shape: its extents.

    """

    __slots__ = ("_offset", "_storage", "_strides", "shape")

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any):
        extents = (offset, *shape, *strides)
        if not isinstance(storage, Storage) or len(shape) != len(strides):
            raise ValueError("a tensor that is not made of a storage, a shape and strides")
        if any(type(extent) is not int or extent < 0 for extent in extents):
            raise ValueError("a tensor whose offset, shape or strides are no whole numbers")
        if len(shape) > MAX_DIMENSIONS or any(extent > MOST_EXTENT for extent in extents):
            raise ValueError(f"a tensor of {len(shape)} dimensions, or of an extent too large")
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        numel = math.prod(shape)
        if numel > storage.numel:
            raise ValueError(f"a tensor of shape {shape} in a storage of {storage.numel}")
        if offset > storage.numel or (numel and last >= storage.numel):
            raise ValueError(f"a tensor that reaches beyond its storage of {storage.numel}")
        self._storage, self._offset = storage, offset
        self.shape, self._strides = tuple(shape), tuple(strides)

    def array(self) -> NDArray[Any]:
        """Return the values, read-only, in native byte order; bfloat16 as float32.

        Raises:
            UserError: the storage is not whole in the file.

        """
        values = self._storage.values()[self._offset :]
        steps = [step * values.itemsize for step in self._strides]
        return np.lib.stride_tricks.as_strided(values, self.shape, steps, writeable=False)


class _OrderedDict(dict):
    """Stands for OrderedDict; a state dict carries an attribute, `_metadata`, that says nothing."""

    def __setstate__(self, state: Any) -> None:
        pass


def _parameter(tensor: Any, *_: Any) -> TorchTensor:
    if not isinstance(tensor, TorchTensor):
        raise Refused("it makes a parameter of something that is no tensor")
    return tensor


NAMES: dict[tuple[str, str], Any] = {
    **STAND_INS,
    **{("torch", name): StorageType(name) for name in DTYPES},
    ("torch._utils", "_rebuild_tensor_v2"): StandIn(TorchTensor),
    ("torch._utils", "_rebuild_parameter"): StandIn(_parameter),
    ("torch", "Size"): STAND_INS["builtins", "tuple"],
    ("collections", "OrderedDict"): StandIn(_OrderedDict),
}
