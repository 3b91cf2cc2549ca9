"""Inert stand-ins for the names in a pickle of arrays while it is loaded.

numpy's own functions are not safe here: its `__setstate__` believes a forged dtype. So a pickle
only fills in shapes, dtypes and bytes, and arrays are built from these afterwards.
"""

import pickle
import re
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from plsc.errors import short

MOST_EXTENT = 2**48
MOST_DIMENSIONS = 16
DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|c8|c16|[SUV][1-9][0-9]{0,8})")


class Refused(pickle.UnpicklingError):
    """The pickle asks for something other than data."""


class StandIn:
    """One of our functions in the place of a global. Opaque: a pickle can alter a function."""

    __slots__ = ("_function",)
    __hash__ = None  # type: ignore[assignment]  # no key of a dict, where `_Arrays` does not look

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        """Return what the function makes of the arguments, which are whatever the pickle says."""
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> NoReturn:
        raise Refused("it alters a function")


class _Dtype:
    """Stands for numpy.dtype(spec, align, copy)."""

    __slots__ = ("_order", "_spec")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, spec: Any, *_: Any):
        self._spec, self._order = as_text(spec), ""
        if self._spec.lstrip("<>=|").startswith("O"):
            raise Refused("it holds an array of Python objects")
        if not DTYPE.fullmatch(self._spec):
            raise Refused(f"it holds an array of the unsupported dtype {self._spec}")

    def __setstate__(self, state: Any) -> None:
        _, order, subarray, names, fields = state[:5]
        if (subarray, names, fields) != (None, None, None):
            raise Refused("it holds a structured array")
        self._order = as_text(order)

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
            raise Refused("it holds an array of Python objects")
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if len(shape) > MOST_DIMENSIONS:
            raise ValueError(f"an array of {len(shape)} dimensions")
        return _flat(raw, dtype, shape).reshape(shape, order=order)


def as_text(value: Any) -> str:
    """Return text, which Python 2 pickled as bytes."""
    if isinstance(value, bytes):
        return value.decode("ascii")
    if not isinstance(value, str):
        raise Refused(f"{short(value)} stands where text belongs")
    return value


def _flat(raw: Any, dtype: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray):
        raise ValueError("an array that is not made of a dtype and bytes")
    kind, count = dtype.build(), 1
    for extent in shape:
        if type(extent) is not int or not 0 <= extent <= MOST_EXTENT:
            raise ValueError(f"an array with an extent of {short(extent)}")
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
        elif isinstance(value, StandIn | _Dtype):
            raise Refused("it holds a function or a type where data belongs")
        return value

    def _remember(self, value: Any, result: Any) -> Any:
        self._done[id(value)] = (value, result)
        return result


def with_arrays(value: Any) -> Any:
    """Return `value` with the arrays themselves in the place of their stand-ins.

    Raises:
        Refused: there is something else than data in it.
        ValueError: an array's shape, dtype and bytes do not fit together.

    """
    return _Arrays().convert(value)


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _ndarray(*_: Any) -> NoReturn:
    raise Refused("it calls numpy.ndarray")


def _scalar(dtype: Any, raw: Any = b"") -> Any:
    return _flat(raw, dtype, ())[0]


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or as_text(encoding) not in ("latin1", "latin-1"):
        raise Refused("it encodes something that is not the bytes of an array")
    return text.encode("latin-1")


def _sequence(kind: Callable[..., Any]) -> Callable[..., Any]:
    def make(items: Any = ()) -> Any:
        if not isinstance(items, bytes | list | tuple):  # bytearray(2**40) would be memory
            raise Refused("it builds a container of something that is not data")
        if kind in (tuple, set) and any(isinstance(item, tuple | frozenset) for item in items):
            raise Refused("it builds a container of containers by a call")  # see pickle_sharing.py
        return kind(items)

    return make


STAND_INS: dict[tuple[str, str], StandIn] = {
    ("numpy", "ndarray"): StandIn(_ndarray),
    ("numpy", "dtype"): StandIn(_Dtype),
    ("numpy.core.multiarray", "_reconstruct"): StandIn(_reconstruct),
    ("numpy.core.multiarray", "scalar"): StandIn(_scalar),
    ("numpy.core.numeric", "_frombuffer"): StandIn(lambda *state: _Array(state)),
    ("_codecs", "encode"): StandIn(_encode),
    ("builtins", "tuple"): StandIn(_sequence(tuple)),
    ("builtins", "bytearray"): StandIn(_sequence(bytearray)),
    ("builtins", "bytes"): StandIn(_sequence(bytes)),
    ("builtins", "set"): StandIn(_sequence(set)),
    ("collections", "OrderedDict"): StandIn(_sequence(dict)),
}
