"""Read pickles of arrays (`.pdparams`, LFW-style `.bin`) without running what is in them.

A pickle is a program: loading one calls whatever functions it names. Here the program is walked
over once before it runs (its end, its operations, the size of its memo), and the names it may use
are the few that pickled arrays need, none of which is the real one: see pickled_arrays.py.
"""

import mmap
import pickle
import pickletools
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from plsc.errors import UserError
from plsc.files.mapped_file import map_file
from plsc.files.pickle_sharing import WATCHED, SharedParts, Step, refuse_repetition
from plsc.files.pickled_arrays import STAND_INS, Refused, with_arrays

OUTSIDE = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER"}
FORBIDDEN = OUTSIDE | {"INST", "OBJ"}  # what a file refers to outside itself; objects of classes
OPERATIONS = {ord(item.code): item for item in pickletools.opcodes if item.name not in FORBIDDEN}
WITH_REFERENCES = OPERATIONS | {
    ord(item.code): item for item in pickletools.opcodes if item.name == "BINPERSID"
}
LENGTH_PREFIX = {
    pickletools.TAKEN_FROM_ARGUMENT1: "<B",
    pickletools.TAKEN_FROM_ARGUMENT4: "<i",
    pickletools.TAKEN_FROM_ARGUMENT4U: "<I",
    pickletools.TAKEN_FROM_ARGUMENT8U: "<Q",
}
MALFORMED = (  # what the unpickler and the stand-ins raise over bytes that are no sound pickle
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


def load_arrays(file: str | Path | BinaryIO) -> Any:
    """Return what a pickle file holds: containers, text, bytes, numbers, numpy arrays and scalars.

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
    with map_file(file, "file") as mapped:
        return _load(mapped, str(file))


def _load(data: bytes | mmap.mmap, name: str) -> Any:
    _walk(data, 0, name, OPERATIONS)
    return _guarded(name, lambda: with_arrays(_Unpickler(data, 0, STAND_INS, None).load()))


def load_part(
    data: bytes | mmap.mmap,
    start: int,
    name: str,
    *,
    stand_ins: Mapping[tuple[str, str], Any],
    resolve: Callable[[Any], Any],
) -> tuple[Any, int]:
    """Return one pickle inside a larger file, as safely as `load_arrays` reads a whole one.

    Args:
        data: the file.
        start: where in it the pickle begins.
        name: of the file, for messages.
        stand_ins: (module, name) -> what may stand for that global; a pickle can call these and
            hand them any state, so they must be inert.
        resolve: persistent id -> the object that the pickle refers to.

    Returns:
        what the pickle holds, stand-ins included, and where it ends.

    Raises:
        UserError: as for `load_arrays`.

    """
    end = _walk(data, start, name, WITH_REFERENCES)
    return _guarded(name, _Unpickler(data, start, stand_ins, resolve).load), end


def _guarded(name: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Refused as error:
        raise UserError(f"{name}: refused: {_printable(error)}") from error
    except MALFORMED as error:
        reason = _printable(error) or type(error).__name__
        raise UserError(f"{name}: not a sound pickle of arrays: {reason}") from error


def _printable(error: Exception) -> str:
    """Return the message, which may quote any bytes of the file, as one short line."""
    return str(error)[:200].encode("unicode_escape").decode()


def _walk(
    data: bytes | mmap.mmap, start: int, name: str, operations: Mapping[int, pickletools.OpcodeInfo]
) -> int:
    """Step over every operation up to STOP, executing none; return where the pickle ends."""
    position, count, size = start, 0, len(data)
    watch, previous = SharedParts(), ""
    while True:
        if position >= size:
            raise UserError(f"{name}: truncated: the pickle does not end before byte {size}")
        operation = operations.get(data[position])
        if operation is None:
            raise UserError(f"{name}: not a pickle of arrays: unknown operation at byte {position}")
        end = _argument_end(data, operation, position + 1)
        if end > size:
            raise UserError(
                f"{name}: truncated: the operation at byte {position} needs bytes up to {end}, "
                f"the file has {size}"
            )
        kind = operation.name
        if kind in WATCHED:
            if kind == "STOP":
                if watch.found:
                    refuse_repetition(data, _steps(data, start, end, operations), name)
                return end
            argument = data[position + 1 : end]
            # The unpickler allots a table as large as the index says, however short the file.
            if not 0 <= watch.take(kind, argument, previous) <= count:
                raise UserError(f"{name}: damaged: impossible memo index at byte {position}")
        position, count, previous = end, count + 1, kind


def _steps(
    data: bytes | mmap.mmap, start: int, stop: int, operations: Mapping[int, pickletools.OpcodeInfo]
) -> Iterator[Step]:
    while start < stop:
        operation = operations[data[start]]
        end = _argument_end(data, operation, start + 1)
        yield operation, start + 1, end
        start = end


def _argument_end(data: bytes | mmap.mmap, operation: Any, start: int) -> int:
    """Return where the operation's argument ends; past the end of `data` if it is cut short."""
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
    """`data` from `start` as the file object that an unpickler wants, without a copy."""

    def __init__(self, data: bytes | mmap.mmap, start: int):
        self._data, self._position = data, start

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
    def __init__(
        self,
        data: bytes | mmap.mmap,
        start: int,
        stand_ins: Mapping[tuple[str, str], Any],
        resolve: Callable[[Any], Any] | None,
    ):
        super().__init__(_Reader(data, start), encoding="bytes")
        self._stand_ins, self._resolve = stand_ins, resolve

    def find_class(self, module: str, name: str) -> Any:
        plain = module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")
        if (plain, name) not in self._stand_ins:
            raise Refused(f"it asks for {module}.{name}, which no file of arrays needs")
        return self._stand_ins[plain, name]

    def persistent_load(self, reference: Any) -> Any:
        if self._resolve is None:
            raise Refused("it refers to something outside itself")
        return self._resolve(reference)
