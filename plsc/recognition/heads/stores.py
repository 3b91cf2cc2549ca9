"""Keep the rows of a tensor in one place, and bring some of them to the device and back."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import paddle
from paddle import Tensor

from plsc.files.rounding import (
    LIMITS,
    NAMES,
    NUMPY_DTYPES,
    Stored,
    decode,
    random_bits,
    round_unbiased,
)
from plsc.recognition.heads.device_rounding import round_unbiased_on_device

RowNumbers = np.ndarray | slice  # distinct and ascending


class RowStore(Protocol):
    """Rows [num_rows, d] of one tensor: the class centres, or one optimizer state of theirs.

    Stored in `dtype` (float32, float16, bfloat16, in tests float64), computed with in float32.
    """

    dtype: str

    def take(self, numbers: RowNumbers, room: Tensor | None = None) -> Tensor:
        """Return the rows on the device, float32 (float64 where that is stored).

        For a slice the result may be the rows themselves; else `room`, memory of the right shape
        and type, may be used for it.
        """

    def put(self, numbers: RowNumbers, values: Tensor, *, key: Sequence[int]) -> None:
        """Write rows back that `take` gave for the same numbers.

        What is stored in fewer bits is rounded without bias, at random as `key` says.
        """

    def read(self, numbers: RowNumbers) -> Stored:
        """Return a copy of the rows as they are stored."""

    def write(self, numbers: RowNumbers, values: Stored) -> None:
        """Replace the rows by `values` of the stored dtype."""


class ArrayRows(ABC):
    """A RowStore whose rows come and go as numpy arrays."""

    def __init__(self, shape: tuple[int, int], dtype: str):
        self.shape, self.dtype = shape, dtype

    @abstractmethod
    def read(self, numbers: RowNumbers, out: Stored | None = None) -> Stored:
        """See RowStore; into `out` if it is given."""

    @abstractmethod
    def write(self, numbers: RowNumbers, values: Stored) -> None:
        """See RowStore."""

    def expect(self, numbers: RowNumbers) -> None:  # noqa: B027 (only some can make use of it)
        """Prepare to read these rows soon."""

    def take(self, numbers: RowNumbers, room: Tensor | None = None) -> Tensor:
        """See RowStore."""
        if self.dtype in LIMITS or paddle.get_device() != "cpu":
            return to_device(self.read(numbers), room)
        rows = room
        if rows is None:
            rows = paddle.empty([count(numbers, self.shape[0]), self.shape[1]], self.dtype)
        self.read(numbers, out=np.from_dlpack(rows))
        return rows

    def put(self, numbers: RowNumbers, values: Tensor, *, key: Sequence[int]) -> None:
        """See RowStore."""
        array = np.from_dlpack(values) if paddle.get_device() == "cpu" else values.numpy()
        if self.dtype in LIMITS:
            array = round_unbiased(array, self.dtype, random_bits(key, array.size))
        self.write(numbers, array)


def count(numbers: RowNumbers, num_rows: int) -> int:
    """Return how many rows `numbers` are."""
    return len(range(num_rows)[numbers] if isinstance(numbers, slice) else numbers)


def to_device(stored: Stored, room: Tensor | None = None) -> Tensor:
    """Return stored rows as numbers on the device; `room` as in RowStore.take."""
    if paddle.get_device() != "cpu":
        # In its few bits; Paddle, too, takes uint16 for the bits of bfloat16.
        wide = "float64" if stored.dtype == np.float64 else "float32"
        return paddle.to_tensor(stored).astype(wide)
    rows = room
    if rows is None:
        rows = paddle.empty(list(stored.shape), "float32" if stored.itemsize < 8 else "float64")
    decode(stored, out=np.from_dlpack(rows))
    return rows


class HostRows(ArrayRows):
    """Rows in the host's memory, which on a CPU is the device's."""

    def __init__(self, array: Stored):
        super().__init__(array.shape, NAMES[array.dtype])
        self.array = array

    def take(self, numbers: RowNumbers, room: Tensor | None = None) -> Tensor:
        """See RowStore."""
        cpu = paddle.get_device() == "cpu"
        if isinstance(numbers, slice) and cpu and self.dtype not in LIMITS:
            return paddle.from_dlpack(self.array[numbers])
        return super().take(numbers, room)

    def read(self, numbers: RowNumbers, out: Stored | None = None) -> Stored:
        """See ArrayRows."""
        if out is None:
            out = np.empty((count(numbers, len(self.array)), self.shape[1]), self.array.dtype)
        if isinstance(numbers, slice):
            out[...] = self.array[numbers]
        else:
            # mode clip: take checks bounds in a copy of its own otherwise
            np.take(self.array, numbers, axis=0, out=out, mode="clip")
        return out

    def write(self, numbers: RowNumbers, values: Stored) -> None:
        """See ArrayRows."""
        self.array[numbers] = values


class DeviceRows:
    """Rows in the device's memory."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor
        self.dtype = str(tensor.dtype).removeprefix("paddle.")

    def take(self, numbers: RowNumbers, room: Tensor | None = None) -> Tensor:
        """See RowStore."""
        rows = self.tensor[self._index(numbers)]
        return rows.astype("float32") if self.dtype in LIMITS else rows

    def put(self, numbers: RowNumbers, values: Tensor, *, key: Sequence[int]) -> None:
        """See RowStore."""
        if self.dtype in LIMITS:
            values = round_unbiased_on_device(values, self.dtype, key)
        self.tensor[self._index(numbers)] = values

    def read(self, numbers: RowNumbers) -> Stored:
        """See RowStore."""
        return self.tensor[self._index(numbers)].numpy().copy()

    def write(self, numbers: RowNumbers, values: Stored) -> None:
        """See RowStore."""
        assert values.dtype == NUMPY_DTYPES[self.dtype]
        self.tensor[self._index(numbers)] = paddle.to_tensor(values)

    @staticmethod
    def _index(numbers: RowNumbers) -> slice | Tensor:
        return numbers if isinstance(numbers, slice) else paddle.to_tensor(numbers)
