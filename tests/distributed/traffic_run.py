"""What the collectives of a training step carry; the cases are those of test_traffic.py.

traffic_run.py CASES OUT: rank r writes the calls and bytes of each case to OUT.r.json.
"""

import json
import sys
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from small_training import faces, training_of

from plsc.distributed import world
from plsc.distributed.collectives import count_traffic
from plsc.distributed.sharding import RowShard
from plsc.engine.trainer import train_step
from plsc.optimizer.clip import ClipGradByGlobalNorm
from plsc.optimizer.momentum import Momentum
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.heads.storage import build_centres
from plsc.recognition.losses.margin import MarginLoss


def carried(folder, *, classes, batch, dim, parts, ratio, losses, storage):
    """(calls, bytes) by kind of one step."""
    place, rule, net = world.current(), Momentum(0.9, 0.01), nn.Linear(3, dim)
    centres = build_centres(
        RowShard(classes, place.rank, place.size),
        dim,
        state_names=rule.state_names,
        storage=storage,
        dtype="float32",
        folder=folder,
        seed=0,
    )
    head = PartialFC(
        centres,
        [(1.0, MarginLoss(m2=0.3, s=8.0))] * losses,
        sample_ratio=ratio,
    )
    training = training_of(
        net,
        head,
        rule,
        clip=ClipGradByGlobalNorm(1.0),
        progress={"global_batch": batch},
        accum_steps=parts,
    )
    random = np.random.default_rng(place.rank)
    images = random.normal(0, 1, (batch, 3)).astype("float32")
    given = faces(images, random.integers(0, classes, batch))
    for _ in range(2):  # the second step's labels are known since the first
        upcoming = given if head.centres.prefetches else None
        with count_traffic() as counted:
            train_step(training, given, lr=0.1, upcoming=upcoming)
        training.progress.advance()
    return counted.calls, counted.bytes


def main(cases: str, out: str) -> None:
    """All cases."""
    place = world.init()
    found = [carried(Path(out).parent, **case) for case in json.loads(cases)]
    Path(f"{out}.{place.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    paddle.set_device("cpu")
    main(*sys.argv[1:])
