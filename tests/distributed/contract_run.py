"""The contract of a task, on several ranks: contract_run.py OUT.

Each rank takes its rows of the same batches and writes what it found to OUT.r.npz and OUT.r.json.
"""

import json
import sys
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from plsc.data.loader.batch import Batch
from plsc.distributed import world
from plsc.distributed.collectives import reduce_sum
from plsc.distributed.data_parallel import DataParallel
from plsc.engine.precision import Precision
from plsc.engine.progress import Progress
from plsc.engine.task import StepLoss, TrainingTask
from plsc.engine.trainer import train_step
from plsc.engine.training import Training
from plsc.engine.update import Updater
from plsc.errors import UserError
from plsc.optimizer.arrangement import trained_parameters
from plsc.optimizer.momentum import Momentum

BATCH, STEPS = 8, 3


class TwoOutputs(nn.Layer):
    """[b, 3] -> {"near": [b, 1], "far": ([b, 1], [b])}: a nest, as a detector's outputs are."""

    def __init__(self):
        super().__init__()
        self.near, self.far = nn.Linear(3, 1), nn.Linear(3, 1)
        random = np.random.default_rng(0)
        for parameter in self.parameters():
            parameter.set_value(random.normal(size=parameter.shape).astype("float32"))

    def forward(self, points):
        far = self.far(points)
        return {"near": self.near(points), "far": (far, paddle.arange(len(points)))}


class Masked(TrainingTask):
    """The mean over the samples of all ranks of near² + wanted·far², where few want the second.

    A rank whose samples do not want it leaves the output out, as a loss does with no faces.
    """

    def begin_step(self, batch, *, step, fraction, upcoming=None):
        self.count = reduce_sum(paddle.to_tensor(float(len(batch)))).item()

    def loss(self, outputs, part):
        wanted = paddle.to_tensor(part["wanted"])
        total = outputs["near"].square().sum()
        if part["wanted"].any():
            total = total + (outputs["far"][0].square() * wanted).sum()
        total = total / self.count
        share = reduce_sum(wanted.sum()) / self.count
        return StepLoss(total, reduce_sum(total), {"wanted": share})


def training_of(parts: int = 1) -> Training:
    net, rule, precision = TwoOutputs(), Momentum(0.9, 0.01), Precision()
    given = {"frozen": (), "state_names": rule.state_names, "clip": None, "no_weight_decay": ()}
    dense = trained_parameters(net, **given)
    return Training(
        network=DataParallel(net),
        task=Masked(),
        updater=Updater(dense, rule=rule, clip=None, scaler=precision.scaler),
        precision=precision,
        schedule=lambda time: 0.05,
        loader=None,
        progress=Progress(epochs=1, num_images=0, steps_per_epoch=9, global_batch=BATCH),
        accum_steps=parts,
    )


def batch_of(step: int, *, wanted_by: int) -> Batch:
    """This rank's rows; only the last `wanted_by` samples of all, of the last rank, want `far`."""
    place, random = world.current(), np.random.default_rng(step)
    points = random.normal(size=(BATCH, 3)).astype("float32")
    wanted = (np.arange(BATCH) >= BATCH - wanted_by).astype("float32")[:, None]
    each = BATCH // place.size
    rows = slice(place.rank * each, (place.rank + 1) * each)
    return Batch({"images": points[rows], "wanted": wanted[rows]})


def weights_after(parts: int, *, wanted_by: int) -> tuple[dict[str, np.ndarray], list[float]]:
    training, losses = training_of(parts), []
    for step in range(STEPS):
        report = train_step(training, batch_of(step, wanted_by=wanted_by), lr=0.05)
        losses.append(report.loss)
        # Each part's share is of the whole step's samples; the mean over the parts is reported.
        assert report.statistics == {"wanted": wanted_by / BATCH / parts}
        training.progress.advance()
    return {name: w.numpy() for name, w in training.updater.dense.weights.items()}, losses


def spoilt() -> str:
    """What stops a run in which one rank's samples are not finite."""
    training, batch = training_of(), batch_of(0, wanted_by=BATCH)
    place = world.current()
    if place.rank == place.size - 1:
        batch["images"][1, 0] = np.nan
    try:
        train_step(training, batch, lr=0.05)
    except UserError as error:
        return str(error)
    return "no error"


def main(out: str) -> None:
    place, arrays, losses = world.init(), {}, {}
    for name, parts, wanted_by in (("all", 1, BATCH), ("few", 1, 2), ("parts", 2, 1)):
        weights, losses[name] = weights_after(parts, wanted_by=wanted_by)
        arrays |= {f"{name}/{key}": values for key, values in weights.items()}
    np.savez(f"{out}.{place.rank}.npz", **arrays)
    found = {"losses": losses, "spoilt": spoilt()}
    Path(f"{out}.{place.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    paddle.set_device("cpu")
    main(*sys.argv[1:])
