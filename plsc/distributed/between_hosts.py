"""Numbers that hosts tell each other without the device: labels, and signals to stop.

A process group over gloo, beside the one of the devices, carries arrays that lie in the memory of
the hosts. Over the device they would have to be copied there and back, and the host would wait for
all that the device still has to do.
"""

import functools
import logging

import numpy as np
import paddle
from paddle import Tensor, distributed
from paddle.distributed.communication.group import Group

from plsc.distributed import world
from plsc.errors import first_line

logger = logging.getLogger(__name__)


@functools.cache
def group() -> Group | None:
    """Return the group, which all ranks make at the first call; None if it cannot be made."""
    size = world.current().size
    try:
        made = distributed.new_group(backend="gloo")
        ranks = paddle.to_tensor(np.ones(1, np.int64), place=paddle.CPUPlace())
        distributed.all_reduce(ranks, group=made)
        if np.from_dlpack(ranks)[0] != size:
            raise RuntimeError(f"a sum over {size} ranks gave {np.from_dlpack(ranks)[0]}")
    except (OSError, RuntimeError, ValueError) as error:
        reason = first_line(error)
        logger.warning("labels and stop signals travel over the device: no gloo group: %s", reason)
        return None
    return made


def sum_of_all(array: np.ndarray) -> Tensor:
    """Return the elementwise sum over ranks, in the memory of the host; `group` is there."""
    tensor = paddle.to_tensor(array, place=paddle.CPUPlace())
    distributed.all_reduce(tensor, group=group())
    return tensor


def describe() -> str:
    """Return how labels and stop signals travel, for the log; called by all ranks."""
    if world.current().size == 1:
        return ""
    way = "over the device" if group() is None else "between the hosts, over gloo"
    return f"labels and stop signals travel {way}"
