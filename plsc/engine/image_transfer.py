"""Bring the images of batches to the device, a step before they are needed where that is wanted."""

import numpy as np
import paddle
from paddle import Tensor

from plsc.data.loader.batch import Batch
from plsc.nn.device import on_gpu

IMAGES = "images"  # the field of a batch that the network is given


class ImageTransfer:
    """Images on the device, as they are in their batch; uint8 is a quarter of float32's bytes.

    What is sent ahead leaves from page-locked memory where the device is a GPU, so that the host
    does not wait for the copy.

    Args:
        ahead: whether the next batch is to be sent while the device works on this one; None: on a
            GPU.

    """

    def __init__(self, *, ahead: bool | None = False):
        self.ahead = on_gpu() if ahead is None else ahead
        self._sent: tuple[Batch, Tensor, Tensor] | None = None  # batch, source, on the device

    def send(self, batch: Batch) -> None:
        """Send the images of `batch`, whose step is the next."""
        source = _page_locked(batch[IMAGES])
        # The source stays until the step after: by then the copy is made.
        self._sent = batch, source, _to_device(source)

    def take(self, batch: Batch) -> Tensor:
        """Return the images of `batch` on the device."""
        if self._sent is not None and self._sent[0] is batch:
            return self._sent[2]
        return paddle.to_tensor(batch[IMAGES])


def _page_locked(array: np.ndarray) -> Tensor:
    """Return a copy of `array` in host memory from which a GPU copies by itself."""
    place = paddle.CUDAPinnedPlace() if on_gpu() else paddle.CPUPlace()
    return paddle.to_tensor(array, place=place)


def _to_device(tensor: Tensor) -> Tensor:
    return tensor.cuda(blocking=False) if on_gpu() else tensor
