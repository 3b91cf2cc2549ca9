"""Gradients of training steps, before the optimizer: head_run.py CASES.npz OUT.

CASES.npz holds the arrays `<case>/<name>` of whole global batches and the JSON text `settings`,
by case; rank r writes what it computed to OUT.r.npz under the same kind of names.
"""

import json
import sys
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from small_training import faces, training_of

from plsc.config.registry import LOSSES
from plsc.distributed import world
from plsc.distributed.sharding import RowShard
from plsc.engine.trainer import train_step
from plsc.engine.update import UpdateReport
from plsc.optimizer.dense import DenseParameters
from plsc.optimizer.momentum import Momentum
from plsc.recognition.heads.centres import ClassCentres
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.losses.margin import MarginOutput, target_cosines


class Net(nn.Layer):
    """Images [b,3,2,2] -> tanh layer -> features [b,d]."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        super().__init__()
        dtype = str(arrays["w1"].dtype)
        for name in ("w1", "b1", "w2", "b2"):
            values = nn.initializer.Assign(arrays[name])
            shape = list(arrays[name].shape)
            setattr(
                self,
                name,
                self.create_parameter(shape, dtype=dtype, default_initializer=values),
            )

    def forward(self, images):
        hidden = paddle.tanh(images.flatten(1) @ self.w1 + self.b1)
        return hidden @ self.w2 + self.b2


class NormMargin:
    """A margin that grows with the feature norm, and an extra term of the norms."""

    def __init__(self, margin: float, pull: float, s: float):
        self.margin, self.pull, self.s = margin, pull, s

    def __call__(self, cosines, target, feature_norms):
        _, column, owned = target_cosines(cosines, target)
        change = -self.margin * feature_norms * owned
        moved = paddle.put_along_axis(cosines, column, change, axis=1, reduce="add")
        extra = self.pull * (feature_norms * owned).sum() / len(cosines)
        return MarginOutput(self.s * moved, extra, {"norm": feature_norms.mean()})


def margin_of(term: dict):
    """The margin of these settings: one of the registry, or the one above."""
    name = term.pop("name", "MarginLoss")
    return NormMargin(**term) if name == "NormMargin" else LOSSES.get(name, "name")(**term)


class ChosenRows(PartialFC):
    """A head that takes the given rows instead of drawing, and keeps the features it saw."""

    chosen: np.ndarray | None = None

    def begin_step(self, labels, *, step, fraction=0.0):
        self.seen: list = []
        super().begin_step(labels, step=step, fraction=fraction)

    def sample(self, labels, *, step, fraction=0.0):
        return self.chosen

    def __call__(self, features, labels):
        features.retain_grads()
        self.seen.append(features)
        return super().__call__(features, labels)


class Recorder:
    """Stands where the updater does and keeps the gradients that reach it."""

    def __init__(self, dense: DenseParameters, head: ChosenRows):
        self.dense, self.head, self.found = dense, head, {}

    def squares(self):
        return {}

    def step(self, *, lr, step, squares):
        self.found = {name: g.numpy() for name, g in self.dense.gradients().items()}
        self.found["rows"] = self.row_gradients()
        self.found["features"] = np.concatenate([f.grad.numpy() for f in self.head.seen])
        self.dense.clear_gradients()
        self.head.end_step()
        return UpdateReport(0.0, False)

    def row_gradients(self):
        """As an optimizer gets to see them, row by row in the order of the classes."""
        seen = []

        def update(weight, gradient, state):
            seen.append(gradient.numpy())

        self.head.update(update)
        return np.concatenate(seen)


def run(arrays: dict[str, np.ndarray], settings: dict) -> dict[str, np.ndarray]:
    """This rank's part of one step: twice, so that nothing may be left over from the first."""
    place = world.current()
    shard = RowShard(len(arrays["centres"]), place.rank, place.size)
    losses = [(term.pop("weight"), margin_of(term)) for term in settings["losses"]]
    head = ChosenRows(
        ClassCentres.of(shard, arrays["centres"][shard.start : shard.stop], state_names=()),
        losses,
        sparse_update=settings["sparse_update"],
        interclass_filtering_threshold=settings["threshold"],
    )
    if "sampled" in arrays:
        mine = arrays["sampled"][shard.owns(arrays["sampled"])]
        head.chosen = mine - shard.start
    backbone = Net(arrays)
    dense = DenseParameters(backbone, state_names=(), frozen=())
    recorder = Recorder(dense, head)
    training = training_of(
        backbone,
        head,
        Momentum(),
        updater=recorder,
        progress={"steps_per_epoch": 1, "global_batch": 24},
        accum_steps=settings["accum_steps"],
    )
    images = arrays["images"].reshape(-1, 3, 2, 2)
    count = len(images) // place.size
    rows = slice(place.rank * count, (place.rank + 1) * count)
    for _ in range(2):
        report = train_step(training, faces(images[rows], arrays["labels"][rows]), lr=0.0)
    return {**recorder.found, "loss": np.array(report.loss), **report.statistics}


def main(cases_file: str, out: str) -> None:
    """All cases."""
    with np.load(cases_file) as file:
        arrays = {name: file[name] for name in file.files}
    settings = json.loads(str(arrays.pop("settings")))
    place, found = world.init(), {}
    for case in settings:
        own = {name.split("/")[1]: a for name, a in arrays.items() if name.startswith(f"{case}/")}
        for name, values in run(own, settings[case]).items():
            found[f"{case}/{name}"] = values
    np.savez(f"{out}.{place.rank}.npz", **found)


if __name__ == "__main__":
    paddle.set_device("cpu")
    main(*sys.argv[1:])
