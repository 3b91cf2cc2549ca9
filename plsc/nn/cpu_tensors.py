"""Tensors as the kernels see them: when they may, the memory itself, what backward must give."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray

from plsc.nn.kernels.compiled import wanted


def runs_here(*tensors: paddle.Tensor) -> bool:
    """Tell whether kernels compute with these: float32 on a CPU, outside of export."""
    return (
        paddle.in_dynamic_mode()
        and wanted()
        and all(
            tensor.dtype == paddle.float32 and tensor.place.is_cpu_place() and tensor.size > 0
            for tensor in tensors
        )
    )


def view(tensor: paddle.Tensor) -> NDArray[np.float32]:
    """Return the tensor's memory, or that of a copy in which elements follow one another."""
    array: NDArray[Any] = np.from_dlpack(tensor.detach().contiguous())
    # the kernels check neither type nor bounds
    assert array.dtype == np.float32 and array.flags.c_contiguous
    return array


def empty(shape: Sequence[int]) -> tuple[paddle.Tensor, NDArray[np.float32]]:
    """Return a new float32 tensor and its memory."""
    tensor = paddle.empty(shape, dtype="float32")
    return tensor, view(tensor)


def wanted_gradients(*tensors: paddle.Tensor) -> list[bool]:
    """Tell which gradients backward gives: recomputed tensors do not say so themselves."""
    return [not tensor.stop_gradient for tensor in tensors]
