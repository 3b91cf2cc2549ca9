"""Where the rows of one tensor live, and how some of them come to the device and go back."""

from typing import Protocol

import numpy as np
import paddle
from paddle import Tensor

RowNumbers = np.ndarray | slice


class RowStore(Protocol):
    """Rows [num_rows, d] of one tensor: the class centres, or one optimizer state of theirs."""

    def take(self, numbers: RowNumbers) -> Tensor:
        """The rows on the device, in the dtype that they are computed in.

        `numbers` ascend and are distinct. For a slice the result may be the rows themselves.
        """

    def put(self, numbers: RowNumbers, values: Tensor) -> None:
        """Write rows back that `take` gave for the same numbers."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """A copy of rows start..stop as they are stored."""

    def write(self, start: int, values: np.ndarray) -> None:
        """Replace the rows from `start` on."""


class HostRows:
    """Rows in the host's memory, which on a CPU is the device's."""

    def __init__(self, array: np.ndarray):
        self.array = array

    def take(self, numbers: RowNumbers) -> Tensor:
        """See RowStore."""
        if paddle.get_device() != "cpu":
            return paddle.to_tensor(self.array[numbers])
        if isinstance(numbers, slice):
            return paddle.from_dlpack(self.array[numbers])
        rows = paddle.empty([len(numbers), self.array.shape[1]], str(self.array.dtype))
        # mode clip: take checks bounds in a copy of its own otherwise
        np.take(self.array, numbers, axis=0, out=np.from_dlpack(rows), mode="clip")
        return rows

    def put(self, numbers: RowNumbers, values: Tensor) -> None:
        """See RowStore."""
        on_cpu = paddle.get_device() == "cpu"
        self.array[numbers] = np.from_dlpack(values) if on_cpu else values.numpy()

    def read(self, start: int, stop: int) -> np.ndarray:
        """See RowStore."""
        return self.array[start:stop].copy()

    def write(self, start: int, values: np.ndarray) -> None:
        """See RowStore."""
        self.array[start : start + len(values)] = values


class DeviceRows:
    """Rows in the device's memory."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor

    def take(self, numbers: RowNumbers) -> Tensor:
        """See RowStore."""
        if isinstance(numbers, slice):
            return self.tensor[numbers]
        return paddle.index_select(self.tensor, paddle.to_tensor(numbers))

    def put(self, numbers: RowNumbers, values: Tensor) -> None:
        """See RowStore."""
        if isinstance(numbers, slice):
            self.tensor[numbers] = values
        else:
            paddle.scatter_(self.tensor, paddle.to_tensor(numbers), values, overwrite=True)

    def read(self, start: int, stop: int) -> np.ndarray:
        """See RowStore."""
        return self.tensor[start:stop].numpy().copy()

    def write(self, start: int, values: np.ndarray) -> None:
        """See RowStore."""
        self.tensor[start : start + len(values)] = paddle.to_tensor(values)
