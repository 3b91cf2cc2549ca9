"""Read pickles of arrays (`.pdparams`, LFW-style `.bin`) without running what is in them.

A pickle is a program: loading one calls whatever functions it names. Here the program is walked
over once before it runs (its end, its operations, the size of its memo), and the few names that
pickled arrays need stand for inert stand-ins defined here. numpy's own functions are not among
them: its `__setstate__` believes a forged dtype. Arrays are built from the raw bytes afterwards.
"""

import mmap
import pickle
import pickletools
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from plsc.errors import UserError

DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|c8|c16|[SUV][1-9][0-9]{0,8})")
REFERENCES = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"}
FORBIDDEN = REFERENCES | {"INST", "OBJ"}  # to things outside the file; of classes
OPERATIONS = {ord(item.code): item for item in pickletools.opcodes if item.name not in FORBIDDEN}
LENGTH_PREFIX = {
    pickletools.TAKEN_FROM_ARGUMENT1: "<B",
    pickletools.TAKEN_FROM_ARGUMENT4: "<i",
    pickletools.TAKEN_FROM_ARGUMENT4U: "<I",
    pickletools.TAKEN_FROM_ARGUMENT8U: "<Q",
}
MALFORMED = (  # what C's unpickler and the stand-ins below raise over bytes that are no pickle
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Refused(pickle.UnpicklingError):
    """The pickle asks for something other than data."""


def load_arrays(file: str | Path | BinaryIO) -> Any:
    """What a pickle file holds: containers, text, bytes, numbers, numpy arrays and scalars.

    Nothing is imported or called on behalf of the file. Arrays are read-only and in native byte
    order; `str` of Python 2 arrives as bytes. Of `paddle.save`'s files, a state dict comes back
    as {key: array}, with {key: parameter name} under `StructuredToParameterName@@`; a tensor
    anywhere else as (name, array).

    Args:
        file: a path, or a binary file object that is read from its position to its end.

    Raises:
        UserError: missing, truncated or damaged file (with the byte offset), arrays of Python
            objects, or any other global name; the message names the file and the reason.

    """
    if not isinstance(file, str | Path):
        return _load(file.read(), str(getattr(file, "name", "pickle")))
    try:
        with open(file, "rb") as opened:
            if Path(file).stat().st_size == 0:
                raise UserError(f"{file}: the file is empty")
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                return _load(mapped, str(file))
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error


def _load(data: bytes | mmap.mmap, name: str) -> Any:
    _walk(data, name)
    try:
        return _Arrays().convert(_Unpickler(_Reader(data), encoding="bytes").load())
    except _Refused as error:
        raise UserError(f"{name}: refused: {error}") from error
    except MALFORMED as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{name}: not a sound pickle of arrays: {reason}") from error


def _walk(data: bytes | mmap.mmap, name: str) -> None:
    """Step over every operation up to STOP without executing any."""
    position, count, size = 0, 0, len(data)
    while True:
        if position >= size:
            raise UserError(f"{name}: truncated: the pickle does not end before byte {size}")
        operation = OPERATIONS.get(data[position])
        if operation is None:
            raise UserError(f"{name}: not a pickle of arrays: unknown operation at byte {position}")
        end = _argument_end(data, operation, position + 1)
        if end > size:
            raise UserError(
                f"{name}: truncated: the operation at byte {position} needs bytes up to {end}, "
                f"the file has {size}"
            )
        # The unpickler allots a table as large as the index says, however short the file.
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            argument = data[position + 1 : end]
            number = int.from_bytes(argument, "little")
            if operation.name == "PUT":
                number = int(argument) if argument.strip().isdigit() and end - position < 20 else -1
            if not 0 <= number <= count:
                raise UserError(f"{name}: damaged: impossible memo index at byte {position}")
        if operation.name == "STOP":
            return
        position, count = end, count + 1


def _argument_end(data: bytes | mmap.mmap, operation: Any, start: int) -> int:
    """Where the operation's argument ends; past the end of `data` if it is cut short."""
    if operation.arg is None:
        return start
    length = operation.arg.n
    if length >= 0:
        return start + length
    if length in LENGTH_PREFIX:
        prefix = struct.Struct(LENGTH_PREFIX[length])
        if start + prefix.size > len(data):
            return start + prefix.size
        (counted,) = prefix.unpack(data[start : start + prefix.size])
        return start + prefix.size + max(counted, 0)
    for _ in range(2 if operation.name == "GLOBAL" else 1):
        newline = data.find(b"\n", start)
        if newline < 0:
            return len(data) + 1
        start = newline + 1
    return start


class _Reader:
    """`data` from its beginning as the file object that an unpickler wants, without a copy."""

    def __init__(self, data: bytes | mmap.mmap):
        self._data, self._position = data, 0

    def read(self, size: int, /) -> bytes:
        start, self._position = self._position, min(self._position + size, len(self._data))
        return self._data[start : self._position]

    def readinto(self, buffer: Any) -> int:
        part = self.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def readline(self) -> bytes:
        newline = self._data.find(b"\n", self._position)
        return self.read((len(self._data) if newline < 0 else newline + 1) - self._position)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        plain = module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")
        if (plain, name) not in GLOBALS:
            asked = f"{module}.{name}"[:100].encode("unicode_escape").decode()
            raise _Refused(f"it asks for {asked}, which no file of arrays needs")
        return GLOBALS[plain, name]


class _Callable:
    """One of our functions in the place of a global. Opaque: a pickle can alter a function."""

    __slots__ = ("_function",)
    __hash__ = None  # type: ignore[assignment]  # no key of a dict, where `_Arrays` does not look

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> NoReturn:
        raise _Refused("it alters a function")


class _Dtype:
    """Stands for numpy.dtype(spec, align, copy)."""

    __slots__ = ("_order", "_spec")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, spec: Any, *_: Any):
        self._spec, self._order = _text(spec), ""
        if self._spec.lstrip("<>=|").startswith("O"):
            raise _Refused("it holds an array of Python objects")
        if not DTYPE.fullmatch(self._spec):
            raise _Refused(f"it holds an array of the unsupported dtype {self._spec!r}")

    def __setstate__(self, state: Any) -> None:
        _, order, subarray, names, fields = state[:5]
        if (subarray, names, fields) != (None, None, None):
            raise _Refused("it holds a structured array")
        self._order = _text(order)

    def build(self) -> np.dtype[Any]:
        order = self._order if self._order in ("<", ">") else ""
        return np.dtype(order + self._spec.lstrip("<>=|") if order else self._spec)


class _Array:
    """Stands for an array until its shape, dtype and bytes are all known."""

    __slots__ = ("_state",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, state: tuple[Any, ...] | None = None):
        self._state = state

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        self._state = (raw, dtype, shape, "F" if fortran else "C")

    def build(self) -> np.ndarray[Any, Any]:
        if self._state is None:
            raise ValueError("an array without content")
        raw, dtype, shape, order = self._state
        if isinstance(raw, list):
            raise _Refused("it holds an array of Python objects")
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        return _flat(raw, dtype, shape).reshape(shape, order=order)


def _text(value: Any) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def _flat(raw: Any, dtype: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray):
        raise ValueError("an array that is not made of a dtype and bytes")
    kind, count = dtype.build(), 1
    for extent in shape:
        if type(extent) is not int or extent < 0:
            raise ValueError(f"an array of shape {shape}")
        count *= extent
    if count * kind.itemsize != len(raw):
        raise ValueError(f"{len(raw)} bytes for an array of shape {shape} and dtype {kind}")
    if not raw:
        return np.empty(count, kind)
    values = np.frombuffer(raw, kind).astype(kind.newbyteorder("="), copy=False)
    values.flags.writeable = False
    return values


class _Arrays:
    """Puts the arrays themselves in the place of their stand-ins."""

    def __init__(self) -> None:
        # Each container once: shared ones may nest exponentially, and a list may hold itself.
        self._done: dict[int, tuple[Any, Any]] = {}

    def convert(self, value: Any) -> Any:
        if id(value) in self._done:
            return self._done[id(value)][1]
        if isinstance(value, _Array):
            return self._remember(value, value.build())
        if isinstance(value, tuple):
            return self._remember(value, tuple(self.convert(item) for item in value))
        if isinstance(value, list):
            self._remember(value, value)
            value[:] = [self.convert(item) for item in value]
        elif isinstance(value, dict):
            self._remember(value, value)
            for key in value:
                value[key] = self.convert(value[key])
        elif isinstance(value, _Callable | _Dtype):
            raise _Refused("it holds a function or a type where data belongs")
        return value

    def _remember(self, value: Any, result: Any) -> Any:
        self._done[id(value)] = (value, result)
        return result


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind is not NDARRAY:
        raise _Refused("it makes an array of something that is not numpy.ndarray")
    return _Array()


def _ndarray(*_: Any) -> NoReturn:
    raise _Refused("it calls numpy.ndarray")


def _scalar(dtype: Any, raw: Any = b"") -> Any:
    return _flat(raw, dtype, ())[0]


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or _text(encoding) not in ("latin1", "latin-1"):
        raise _Refused("it encodes something that is not the bytes of an array")
    return text.encode("latin-1")


def _sequence(kind: Callable[..., Any]) -> Callable[..., Any]:
    def make(items: Any = ()) -> Any:
        if not isinstance(items, bytes | list | tuple):  # bytearray(2**40) would be memory
            raise _Refused("it builds a container of something that is not data")
        return kind(items)

    return make


NDARRAY = _Callable(_ndarray)
GLOBALS: dict[tuple[str, str], _Callable] = {
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): _Callable(_Dtype),
    ("numpy.core.multiarray", "_reconstruct"): _Callable(_reconstruct),
    ("numpy.core.multiarray", "scalar"): _Callable(_scalar),
    ("numpy.core.numeric", "_frombuffer"): _Callable(lambda *state: _Array(state)),
    ("_codecs", "encode"): _Callable(_encode),
    ("builtins", "tuple"): _Callable(_sequence(tuple)),
    ("builtins", "bytearray"): _Callable(_sequence(bytearray)),
    ("builtins", "bytes"): _Callable(_sequence(bytes)),
    ("builtins", "set"): _Callable(_sequence(set)),
    ("collections", "OrderedDict"): _Callable(_sequence(dict)),
}
