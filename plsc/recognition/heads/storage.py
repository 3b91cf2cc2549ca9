"""Make class centres in the storage and dtype of a config, with their initial values."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import paddle

from plsc.checkpoint.sharded_files import WEIGHT
from plsc.distributed.collectives import agree
from plsc.distributed.sharding import RowShard
from plsc.files.rounding import NUMPY_DTYPES, round_nearest
from plsc.nn.device import on_cpu
from plsc.recognition.heads.centres import ClassCentres
from plsc.recognition.heads.file_rows import make_files
from plsc.recognition.heads.initial import initial_centres
from plsc.recognition.heads.row_order import RowOrder
from plsc.recognition.heads.stores import DeviceRows, HostRows, RowStore

FILE_BLOCK = 64  # rows sampled together from a file: 64 kB of 512 bfloat16, fast on a disk


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
    """Make random class centres with zero optimizer state. All ranks call this together.

    Args:
        shard: the classes of this rank.
        dim: length of a class centre.
        state_names: names of the tensors of optimizer state.
        storage: `device`, `host` (memory of the host; on a CPU the same as `device`) or `file`
            (files without names in `folder`).
        dtype: dtype of weight and state: float32, float16 or bfloat16.
        folder: folder of the files.
        seed: seed of the values and of the order of the rows in files.

    Raises:
        UserError: the disk has no room for the files.

    """
    names = (WEIGHT, *state_names)
    if storage == "file":
        files = make_files(folder, (shard.num_local, dim), names=names, dtype=dtype)
        order = RowOrder(shard.num_local, seed=(seed, shard.rank))
        centres = ClassCentres(shard, dim, files, order=order, block=FILE_BLOCK, prefetch=True)
        # Only a whole zone of classes is one run of rows; smaller pieces would scatter the writes.
        pieces = _joined(initial_centres(shard, dim, seed=seed), order.zone, dtype)
    else:
        shape = (shard.num_local, dim)
        stores: dict[str, RowStore]
        if storage == "host" or on_cpu():  # the memory of a CPU is the host's
            stores = {name: HostRows(np.zeros(shape, NUMPY_DTYPES[dtype])) for name in names}
        else:
            stores = {name: DeviceRows(paddle.zeros(list(shape), dtype)) for name in names}
        centres = ClassCentres(shard, dim, stores, prefetch=storage == "host" and not on_cpu())
        pieces = initial_centres(shard, dim, seed=seed)
    # The ranks synchronise at every piece, because gloo gives up on a rank for which the others
    # wait half a minute.
    while agree((piece := next(pieces, None)) is not None):
        if piece is not None:
            start, values = piece
            centres.write(WEIGHT, values, start)
    return centres


def _joined(
    pieces: Iterable[tuple[int, np.ndarray]], length: int, dtype: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the rows as `dtype` in pieces of `length`; the last piece may be shorter."""
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
