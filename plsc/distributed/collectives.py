"""The collectives that plsc uses, each an identity in a world of one.

Only all_reduce, all_gather and broadcast appear: gloo has no reduce_scatter and no alltoall, and
the same lines must run on gloo and NCCL.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import paddle
from paddle import Tensor, distributed
from paddle.autograd import PyLayer

from plsc.distributed import between_hosts, world


@dataclass
class CountedTraffic:
    """Bytes that the collectives of a rank carried, by kind: all_gather, all_reduce, broadcast.

    Attributes:
        calls: how many there were.
        bytes: the sizes of their results. Of N bytes a ring of W ranks sends (W − 1)/W · N from
            each rank to gather them, and twice that to reduce them.

    """

    calls: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)


_counting: list[CountedTraffic] = []


@contextlib.contextmanager
def count_traffic() -> Iterator[CountedTraffic]:
    """Count what the collectives of this module carry in the block.

    Objects (see `gather_objects`) do not count, nor do the gradients that paddle.DataParallel
    reduces by itself: as many bytes as the parameters that it trains.
    """
    counted = CountedTraffic()
    _counting.append(counted)
    try:
        yield counted
    finally:
        _counting.pop()


def _count(kind: str, *results: Tensor) -> None:
    for counted in _counting:
        counted.calls[kind] += 1
        counted.bytes[kind] += sum(each.size * each.element_size() for each in results)


def _reduced(tensor: Tensor, op: int) -> Tensor:
    reduced = tensor.detach().clone()
    if world.current().size > 1:
        distributed.all_reduce(reduced, op=op)
        _count("all_reduce", reduced)
    return reduced


def reduce_max(tensor: Tensor) -> Tensor:
    """Return the elementwise maximum over ranks; no gradient."""
    return _reduced(tensor, distributed.ReduceOp.MAX)


def reduce_sum(tensor: Tensor) -> Tensor:
    """Return the elementwise sum over ranks; no gradient."""
    return _reduced(tensor, distributed.ReduceOp.SUM)


def gather(tensor: Tensor) -> Tensor:
    """Join `[n, ...]` of each rank to `[W·n, ...]` in rank order; equal shapes; no gradient."""
    size = world.current().size
    if size == 1:
        return tensor.detach()
    parts: list[Tensor] = []
    distributed.all_gather(parts, tensor.detach().contiguous())
    _count("all_gather", *parts)
    return paddle.concat(parts, axis=0)


def gather_arrays(array: np.ndarray) -> np.ndarray:
    """`[n, ...]` of the host on each rank -> `[W·n, ...]` in rank order; equal shapes.

    The hosts tell each other, and no device is asked or waited for; see `between_hosts`.
    """
    place = world.current()
    if place.size == 1:
        return array
    slots = np.zeros((place.size, *array.shape), array.dtype)
    slots[place.rank] = array  # zeros elsewhere: their sum over ranks has every rank's array
    if between_hosts.group() is not None:
        total = between_hosts.sum_of_all(slots)
        _count("all_reduce", total)
        found = np.from_dlpack(total)  # the memory of the tensor is the host's
    else:
        found = reduce_sum(paddle.to_tensor(slots)).numpy()
    return found.reshape(-1, *array.shape[1:])


def broadcast(tensor: Tensor, *, source: int = 0) -> Tensor:
    """Return `tensor` of rank `source`, on every rank."""
    sent = tensor.detach().clone()
    if world.current().size > 1:
        distributed.broadcast(sent, src=source)
        _count("broadcast", sent)
    return sent


def agree(flag: bool) -> bool:
    """Tell whether any rank says True; the same answer on all ranks."""
    return bool(gather_arrays(np.array([flag], np.int64)).any())


def gather_objects(item: object) -> list:
    """Return one small picklable object of each rank, in rank order; for reports, not for data."""
    size = world.current().size
    if size == 1:
        return [item]
    items: list = []
    distributed.all_gather_object(items, item)
    return items


def broadcast_text(text: str) -> str:
    """Return rank 0's `text`, on every rank."""
    return gather_objects(text)[0]


class _SumOverRanks(PyLayer):
    """Forward: sum over ranks. Backward: identity.

    Every rank goes on to compute the same loss from the sum, so the derivative of that one loss
    with respect to a rank's own summand is the derivative with respect to the sum.
    """

    @staticmethod
    def forward(ctx, tensor):
        return reduce_sum(tensor)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class _GatherRows(PyLayer):
    """Forward: rows of all ranks. Backward: the rows' gradients summed over ranks, own rows kept.

    Each rank's loss graph holds only its own classes; the sum over ranks is the exact derivative
    of the one global loss with respect to this rank's rows.
    """

    @staticmethod
    def forward(ctx, tensor):
        ctx.num_rows = tensor.shape[0]
        return gather(tensor)

    @staticmethod
    def backward(ctx, gradient):
        start = world.current().rank * ctx.num_rows
        return reduce_sum(gradient)[start : start + ctx.num_rows]


def reduce_sum_with_grad(tensor: Tensor) -> Tensor:
    """Return the sum over ranks of a tensor from which every rank computes the same loss."""
    return tensor if world.current().size == 1 else _SumOverRanks.apply(tensor)


def gather_with_grad(tensor: Tensor) -> Tensor:
    """Join `[n, ...]` to `[W·n, ...]`; backward gives each rank d loss / d its own rows."""
    return tensor if world.current().size == 1 else _GatherRows.apply(tensor)
