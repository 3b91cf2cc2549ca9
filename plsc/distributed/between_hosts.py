"""Numbers that hosts tell each other without the device: labels, and signals to stop.

A process group over gloo carries arrays that lie in the memory of the hosts. CPU ranks have one;
beside NCCL another is made. Over the device the arrays would have to be copied there and back, and
the host would wait for all that the device still has to do.
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
    """Return the group, which all ranks make at the first call; None if one of them cannot."""
    if distributed.get_backend() == "GLOO":
        # The group of CPU ranks is one of hosts. A second gloo group would meet under the keys of
        # the first, where a rank may find the address at which another listened before.
        return distributed.get_group()
    made, missing = _made()
    refused = paddle.to_tensor([float(bool(missing))])
    distributed.all_reduce(refused)  # over the devices: one rank's failure is every rank's
    if refused.item():
        reason = missing or "another rank could not join it"
        logger.warning("labels and stop signals travel over the device: no gloo group: %s", reason)
        return None
    return made


def _made() -> tuple[Group | None, str]:
    """Return a new group over gloo, or why there is none."""
    size = world.current().size
    try:
        made = distributed.new_group(backend="gloo")
        ranks = paddle.to_tensor(np.ones(1, np.int64), place=paddle.CPUPlace())
        distributed.all_reduce(ranks, group=made)
    except (OSError, RuntimeError, ValueError) as error:
        return None, first_line(error)
    (found,) = np.from_dlpack(ranks)
    return made, "" if found == size else f"a sum over {size} ranks gave {found}"


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
