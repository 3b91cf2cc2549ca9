"""Store the rows of a tensor, and move some of them to the device and back."""

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
from plsc.nn.device import on_cpu
from plsc.recognition.heads.device_rounding import round_unbiased_on_device

RowNumbers = np.ndarray | slice  # distinct and ascending


class RowStore(Protocol):
    """Rows [num_rows, d] of one tensor: the class centres or a tensor of their optimizer state.

    The rows are stored in `dtype` (float32, float16 or bfloat16; float64 in tests). Computation
    uses float32.
    """

    dtype: str

    def take(self, numbers: RowNumbers, room: Tensor | None = None) -> Tensor:
        """Return the rows on the device in float32, or in float64 if float64 is stored.

        For a slice the result may share memory with the store. Otherwise the result may use
        `room`, memory of the right shape and dtype.
        """

    def put(self, numbers: RowNumbers, values: Tensor, *, key: Sequence[int]) -> None:
        """Write back rows that `take` returned for the same numbers.

        A store of fewer bits rounds the values stochastically, without bias; `key` is the seed.
        """

    def read(self, numbers: RowNumbers) -> Stored:
        """Return a copy of the rows in the stored dtype."""

    def write(self, numbers: RowNumbers, values: Stored) -> None:
        """Replace the rows by `values` of the stored dtype."""


class ArrayRows(ABC):
    """A RowStore that reads and writes numpy arrays."""

    def __init__(self, shape: tuple[int, int], dtype: str):
        self.shape, self.dtype = shape, dtype

    @abstractmethod
    def read(self, numbers: RowNumbers, out: Stored | None = None) -> Stored:
        """See RowStore; the result is written to `out`, if there is one."""

    @abstractmethod
    def write(self, numbers: RowNumbers, values: Stored) -> None:
        """See RowStore."""

    def expect(self, numbers: RowNumbers) -> None:  # noqa: B027 (optional)
        """Prepare for a read of these rows."""

    def take(self, numbers: RowNumbers, room: Tensor | None = None) -> Tensor:
        """See RowStore."""
        if self.dtype in LIMITS or not on_cpu():
            return to_device(self.read(numbers), room)
        rows = room
        if rows is None:
            rows = paddle.empty([count(numbers, self.shape[0]), self.shape[1]], self.dtype)
        self.read(numbers, out=np.from_dlpack(rows))
        return rows

    def put(self, numbers: RowNumbers, values: Tensor, *, key: Sequence[int]) -> None:
        """See RowStore."""
        array = np.from_dlpack(values) if on_cpu() else values.numpy()
        if self.dtype in LIMITS:
            array = round_unbiased(array, self.dtype, random_bits(key, array.size))
        self.write(numbers, array)


def count(numbers: RowNumbers, num_rows: int) -> int:
    """Return the number of rows that `numbers` selects out of `num_rows`."""
    return len(range(num_rows)[numbers] if isinstance(numbers, slice) else numbers)


def to_device(stored: Stored, room: Tensor | None = None) -> Tensor:
    """Return stored rows in the dtype of computation on the device; see RowStore.take."""
    if not on_cpu():
        # Few bits travel to the device. Paddle, like plsc, holds bfloat16 in numpy as uint16.
        wide = "float64" if stored.dtype == np.float64 else "float32"
        return paddle.to_tensor(stored).astype(wide)
    rows = room
    if rows is None:
        rows = paddle.empty(list(stored.shape), "float32" if stored.itemsize < 8 else "float64")
    decode(stored, out=np.from_dlpack(rows))
    return rows


class HostRows(ArrayRows):
    """Rows in the memory of the host; on a CPU this is the memory of the device."""

    def __init__(self, array: Stored):
        super().__init__(array.shape, NAMES[array.dtype])
        self.array = array

    def take(self, numbers: RowNumbers, room: Tensor | None = None) -> Tensor:
        """See RowStore."""
        if isinstance(numbers, slice) and on_cpu() and self.dtype not in LIMITS:
            return paddle.from_dlpack(self.array[numbers])
        return super().take(numbers, room)

    def read(self, numbers: RowNumbers, out: Stored | None = None) -> Stored:
        """See ArrayRows."""
        if out is None:
            out = np.empty((count(numbers, len(self.array)), self.shape[1]), self.array.dtype)
        if isinstance(numbers, slice):
            out[...] = self.array[numbers]
        else:
            # With another mode, take makes a copy to check the bounds.
            np.take(self.array, numbers, axis=0, out=out, mode="clip")
        return out

    def write(self, numbers: RowNumbers, values: Stored) -> None:
        """See ArrayRows."""
        self.array[numbers] = values


class DeviceRows:
    """Rows in the memory of the device."""

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
