"""Class centres as a config asks for them: where, in which type, with their first values."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import paddle

from plsc.checkpoint.sharded_files import WEIGHT
from plsc.distributed.collectives import agree
from plsc.distributed.sharding import RowShard
from plsc.files.rounding import NUMPY_DTYPES, round_nearest
from plsc.recognition.heads.centres import ClassCentres
from plsc.recognition.heads.file_rows import make_files
from plsc.recognition.heads.initial import initial_centres
from plsc.recognition.heads.row_order import RowOrder
from plsc.recognition.heads.stores import DeviceRows, HostRows, RowStore

FILE_BLOCK = 64  # rows that are sampled together from a file: 64 kB of 512 bfloat16, a disk's taste


def build_centres(
    shard: RowShard,
    dim: int,
    *,
    state_names: tuple[str, ...],
    storage: str,
    dtype: str,
    folder: Path,
    seed: int,
) -> ClassCentres:
    """Make random class centres with zero optimizer state; called by all ranks together.

    Args:
        shard: the classes of this rank.
        dim: of a class centre.
        state_names: names of the optimizer's state.
        storage: `device`; `host`: the host's memory, which is the same on a CPU; `file`: files
            without names in `folder`.
        dtype: float32, float16 or bfloat16, of weight and state.
        folder: for the files.
        seed: of the values and of the order of rows in files.

    Raises:
        UserError: there is no room for the files.

    """
    names, on_cpu = (WEIGHT, *state_names), paddle.get_device() == "cpu"
    if storage == "file":
        files = make_files(folder, (shard.num_local, dim), names=names, dtype=dtype)
        order = RowOrder(shard.num_local, seed=(seed, shard.rank))
        made = ClassCentres(shard, dim, files, order=order, block=FILE_BLOCK, prefetch=True)
        # Only a whole zone of classes is one run of rows: smaller pieces scatter the writes.
        pieces = _joined(initial_centres(shard, dim, seed=seed), order.zone, dtype)
    else:
        shape = (shard.num_local, dim)
        stores: dict[str, RowStore]
        if storage == "host" or on_cpu:
            stores = {name: HostRows(np.zeros(shape, NUMPY_DTYPES[dtype])) for name in names}
        else:
            stores = {name: DeviceRows(paddle.zeros(list(shape), dtype)) for name in names}
        made = ClassCentres(shard, dim, stores, prefetch=storage == "host" and not on_cpu)
        pieces = initial_centres(shard, dim, seed=seed)
    # Ranks meet at every piece: gloo gives up on one that lets the others wait for half a minute.
    while agree((piece := next(pieces, None)) is not None):
        if piece is not None:
            start, values = piece
            made.write(WEIGHT, values, start)
    return made


def _joined(
    pieces: Iterable[tuple[int, np.ndarray]], length: int, dtype: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the same rows as `dtype`, in pieces of `length` (the last may be shorter)."""
    parts: list[np.ndarray] = []
    start = stop = 0
    for _, values in pieces:
        while len(values):
            part = values[: start + length - stop]
            parts.append(round_nearest(part, dtype))
            values, stop = values[len(part) :], stop + len(part)
            if stop == start + length:
                yield start, np.concatenate(parts)
                parts, start = [], stop
    if parts:
        yield start, np.concatenate(parts)
