"""Steps of a head whose class centres lie in files: storage_run.py FOLDER OUT.

Rank r writes to OUT.r.npz what it has at the end, and to OUT.r.txt what a full disk is told as.
"""

import shutil
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import paddle

from plsc.distributed import world
from plsc.distributed.sharding import RowShard
from plsc.errors import UserError
from plsc.optimizer.momentum import Momentum
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.heads.storage import build_centres
from plsc.recognition.losses.margin import MarginLoss

CLASSES, DIM, BATCH, STEPS = 1001, 6, 12, 5


def centres_of(folder: Path, storage: str, dtype: str):
    place = world.current()
    return build_centres(
        RowShard(CLASSES, place.rank, place.size),
        DIM,
        state_names=("velocity",),
        storage=storage,
        dtype=dtype,
        folder=folder,
        seed=4,
    )


def train(centres, *, ratio: float, prefetch: bool) -> dict[str, np.ndarray]:
    """Momentum steps on the same global batches, however many ranks share them."""
    place, rule = world.current(), Momentum(momentum=0.9, weight_decay=5e-4)
    head = PartialFC(centres, [(1.0, MarginLoss(m2=0.3, s=16.0))], sample_ratio=ratio)
    random = np.random.default_rng(0)
    features = random.normal(0, 1, (STEPS, BATCH, DIM)).astype("float32")
    labels = random.integers(0, CLASSES, (STEPS + 1, BATCH))
    mine = slice(place.rank * BATCH // place.size, (place.rank + 1) * BATCH // place.size)
    losses = []
    for step in range(STEPS):
        head.begin_step(labels[step, mine], step=step)
        if prefetch:
            head.prefetch(labels[step + 1, mine], step=step + 1)
        leaf = paddle.to_tensor(features[step, mine], stop_gradient=False)
        output = head(leaf, labels[step, mine])
        output.loss.backward()
        head.update(lambda w, g, s, step=step: rule.update(w, g, s, lr=0.5, step=step + 1))
        head.end_step()
        losses.append(output.loss.item())
    return {"losses": np.array(losses), **{name: centres.read(name) for name in centres.names}}


def disk_with_room_for_one(folder: Path) -> str:
    """What is raised where each rank's files fit and those of both do not."""
    usage = namedtuple("usage", "total used free")
    shutil.disk_usage = lambda path: usage(0, 0, 501 * DIM * 2 * 2 + 100)
    try:
        centres_of(folder, "file", "bfloat16")
    except UserError as error:
        return str(error)
    return ""


def main(folder: Path, out: str) -> None:
    """All of it."""
    world.init()
    found = {}
    for dtype in ("float32", "bfloat16"):
        for ratio in (0.1, 0.4, 1.0):
            for prefetch in (False, True):
                arrays = train(centres_of(folder, "file", dtype), ratio=ratio, prefetch=prefetch)
                found |= {f"{dtype}/{ratio}/{prefetch}/{name}": a for name, a in arrays.items()}
    rank = world.current().rank
    np.savez(f"{out}.{rank}.npz", **found)
    Path(f"{out}.{rank}.txt").write_text(disk_with_room_for_one(folder))


if __name__ == "__main__":
    paddle.set_device("cpu")
    main(Path(sys.argv[1]), sys.argv[2])
