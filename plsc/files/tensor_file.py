"""Safetensors files, written and read piece by piece.

A file is the length of its header (8 bytes, little-endian), the header (JSON: each tensor's type,
shape and place), then the tensors' bytes, one after another, nothing between. The safetensors
library reads and writes the same files, but wants a tensor whole in memory and holds the
interpreter's lock meanwhile; a head of ten million classes is tens of gigabytes.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from plsc.files.atomic import replacing
from plsc.files.block_sums import RunningSums
from plsc.files.checked_file import CheckedFile
from plsc.files.tensor_types import NAMES, TYPES, as_type

PIECE_BYTES = 16 * 2**20  # larger ones come fresh from the system, page by page, each time
LENGTH_BYTES = 8
MOST_HEADER = 10 * 2**20  # bytes: 100,000 tensors
MOST_DIMENSIONS = 16
MOST_VALUES = 2**48  # of a tensor, without the extents that are 0
ALIGNMENT = 8


class RowSource(Protocol):
    """A tensor to be written: an array, or an object that gives some of its rows when asked.

    `str(dtype)` is one of TYPES; bfloat16 is given as its bits (uint16).
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its extents, as an array does."""

    @property
    def dtype(self) -> Any:
        """Return its type, as an array does, or the name."""

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """Return rows start..stop."""


def num_bytes(tensor: RowSource) -> int:
    """Return bytes of the values."""
    return math.prod(tensor.shape) * TYPES[str(tensor.dtype)][1].itemsize


def header_of(tensors: Mapping[str, RowSource]) -> bytes:
    """Return the first bytes of the file that `tensors` make, all before the values."""
    entries, offset = {}, 0
    for name in _order(tensors):
        tensor, end = tensors[name], offset + num_bytes(tensors[name])
        entries[name] = {
            "dtype": TYPES[str(tensor.dtype)][0],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def file_bytes(tensors: Mapping[str, RowSource]) -> int:
    """Return length of the file that `tensors` make."""
    return len(header_of(tensors)) + sum(map(num_bytes, tensors.values()))


def write_tensors(
    path: Path,
    tensors: Mapping[str, RowSource],
    *,
    written: Callable[[int], None] = lambda count: None,
) -> str:
    """Write a file that is there whole or not at all, with as much memory as one piece takes.

    The file's sums are computed in another thread, while the disk takes what they are of.

    Args:
        path: the file; written beside it, synced and renamed.
        tensors: read one after another, about PIECE_BYTES at a time.
        written: told how many bytes have been written since it was last told.

    Returns:
        the file's sums by blocks: see files/block_sums.py.

    Raises:
        OSError: it cannot be written.

    """
    sums, header = RunningSums(), header_of(tensors)
    sums.add(np.frombuffer(header, np.uint8))
    with (
        ThreadPoolExecutor(1) as beside,
        replacing(path) as partial,
        open(partial, "wb") as file,
    ):
        file.write(header)
        for name in _order(tensors):
            for piece in _pieces(tensors[name]):
                summed = beside.submit(sums.add, piece.view(np.uint8))
                file.write(piece.data)
                summed.result()  # the next piece may come in this one's memory
                written(piece.nbytes)
    return sums.text()


def _order(tensors: Mapping[str, RowSource]) -> list[str]:
    """Sort wide types first, so that every tensor lies at a multiple of its element's size."""
    return sorted(tensors, key=lambda name: (-TYPES[str(tensors[name].dtype)][1].itemsize, name))


def _pieces(tensor: RowSource) -> Iterator[np.ndarray]:
    stored = TYPES[str(tensor.dtype)][1]
    if not tensor.shape:
        yield np.asarray(tensor, stored).reshape(1)
        return
    for start, stop in spans(0, tensor.shape[0], num_bytes(tensor)):
        # A view of one dimension: only such have all bytes behind `data`, empty ones too.
        yield np.ascontiguousarray(tensor[start:stop], stored).reshape(-1)


def spans(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Split rows start..stop, `size` bytes in all, into runs of at most PIECE_BYTES (or a row)."""
    step = max(1, PIECE_BYTES * (stop - start) // max(size, 1))
    for first in range(start, stop, step):
        yield first, min(first + step, stop)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: type (a key of TYPES), shape, place of its first byte in the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Return bytes of the values."""
        return math.prod(self.shape) * TYPES[self.dtype][1].itemsize

    @property
    def place(self) -> tuple[int, int]:
        """Return a key to sort tensors by: empty ones before the one that begins where they do."""
        return self.offset, self.size


class TensorFile:
    """A file opened for reading, until the `with` block ends.

    Args:
        path: of the file.
        sums: of the file, from `write_tensors`; all that is read is checked by them.

    Attributes:
        tensors: what it holds, by name.

    Raises:
        DamagedFile: missing, cut short, no safetensors file, not what its sums are of, or the
            system cannot read it.

    """

    def __init__(self, path: Path, sums: str | None = None):
        self.path = path
        self._file = CheckedFile(path, "tensor file", sums)
        try:
            self.tensors = self._header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "TensorFile":
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    def array(self, name: str) -> np.ndarray:
        """Return a whole tensor; bfloat16 becomes float32."""
        tensor = self.tensors[name]
        stored = TYPES[tensor.dtype][1]
        values = self._file.read(tensor.size, tensor.offset).view(stored).reshape(tensor.shape)
        return as_type(values, "bfloat16", "float32") if tensor.dtype == "bfloat16" else values

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return rows start..stop [n, ...] in the type that is stored; bfloat16 as uint16."""
        tensor = self.tensors[name]
        assert 0 <= start <= stop <= tensor.shape[0]
        stored = TYPES[tensor.dtype][1]
        width = math.prod(tensor.shape[1:]) * stored.itemsize
        values = self._file.read((stop - start) * width, tensor.offset + start * width)
        return values.view(stored).reshape(stop - start, *tensor.shape[1:])

    def _header(self) -> dict[str, StoredTensor]:
        """Return the header's tensors; every byte after it belongs to exactly one."""
        size = self._file.size
        if size < LENGTH_BYTES:
            raise self._file.unreadable(f"it ends after {size} bytes")
        length = int.from_bytes(self._file.read(LENGTH_BYTES, 0).tobytes(), "little")
        end = LENGTH_BYTES + length
        if length > MOST_HEADER or end > size:
            raise self._file.unreadable("it is cut short, or no safetensors file")
        text = self._file.read(length, LENGTH_BYTES).tobytes()
        try:
            header = json.loads(text.decode())
            header.pop("__metadata__", None)
            tensors = {name: _stored(entry, end) for name, entry in header.items()}
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise self._file.unreadable(f"its header is damaged ({str(error)[:80]})") from error
        for name, tensor in sorted(tensors.items(), key=lambda item: item[1].place):
            if tensor.offset != end:
                raise self._file.unreadable(
                    f"{name!r} does not begin where the tensor before it ends"
                )
            end += tensor.size
        if end != size:
            raise self._file.unreadable(f"it has {size} bytes, and {end} by its header")
        return tensors


def _stored(entry: Any, first: int) -> StoredTensor:
    """Return a header's entry; the tensors' bytes begin at `first`."""
    shape, (start, stop) = tuple(entry["shape"]), entry["data_offsets"]
    if any(type(number) is not int or number < 0 for number in (*shape, start, stop)):
        raise ValueError("shapes and offsets are no whole numbers")
    if len(shape) > MOST_DIMENSIONS or math.prod(extent or 1 for extent in shape) > MOST_VALUES:
        raise ValueError("a shape that no array has")
    tensor = StoredTensor(NAMES[entry["dtype"]], shape, first + start)
    if stop - start != tensor.size:
        raise ValueError(f"{stop - start} bytes for {tensor.dtype} {list(shape)}")
    return tensor


def read_tensors(path: Path, sums: str | None = None) -> dict[str, np.ndarray]:
    """Return all tensors of a file as arrays; `sums` as for TensorFile.

    Raises:
        DamagedFile: see TensorFile.

    """
    with TensorFile(path, sums) as file:
        return {name: file.array(name) for name in file.tensors}
