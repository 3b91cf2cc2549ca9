"""Optimizer steps, overflows, non-finite numbers and the collectives on two ranks.

update_run.py OUT: rank r writes its findings to OUT.r.npz (arrays) and OUT.r.json (the rest).
"""

import json
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from small_training import faces, training_of

from plsc.distributed import between_hosts, collectives, world
from plsc.distributed.data_parallel import DataParallel, average_buffers
from plsc.distributed.sharding import RowShard
from plsc.engine.precision import LossScaler
from plsc.engine.trainer import train_step
from plsc.errors import UserError
from plsc.optimizer.clip import ClipGradByGlobalNorm
from plsc.optimizer.dense import DenseParameters
from plsc.optimizer.momentum import Momentum
from plsc.recognition.heads.centres import ClassCentres
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.losses.margin import MarginLoss

CLASSES, DIM, BATCH = 5, 4, 6
CLIPS = {
    "together": ClipGradByGlobalNorm(0.5),
    "without_head": ClipGradByGlobalNorm(0.5, no_clip_list=["dist"]),
    "upwards": ClipGradByGlobalNorm(100.0, always_clip=True),
}
GOOD, INF, NAN, DENSE_INF = "good", "inf", "nan", "dense inf"
OVERFLOWS = [GOOD, INF, NAN, GOOD, DENSE_INF, GOOD, GOOD, GOOD, GOOD, INF, GOOD, INF]


class Net(nn.Layer):
    """[b,3,1,1] -> [b,4], with BatchNorm and dropout; the same numbers on all ranks."""

    def __init__(self, seed=0, dropout=0.0):
        super().__init__()
        paddle.seed(seed)
        self.fc, self.bn, self.drop = nn.Linear(3, DIM), nn.BatchNorm1D(DIM), nn.Dropout(dropout)

    def forward(self, images):
        return self.drop(self.bn(self.fc(images.flatten(1))))


def head_of(rule, **options):
    place = world.current()
    shard = RowShard(CLASSES, place.rank, place.size)
    weight = np.random.default_rng(1).normal(0, 0.1, (CLASSES, DIM)).astype("float32")
    own = weight[shard.start : shard.stop]
    centres = ClassCentres.of(shard, own, state_names=rule.state_names)
    return PartialFC(centres, [(1.0, MarginLoss(m2=0.3, s=8.0))], **options)


def made(scaler=None, clip=None, **options):
    rule = Momentum(0.9, 0.01)
    progress = {"global_batch": 2 * BATCH}
    return training_of(
        Net(), head_of(rule, **options), rule, clip=clip, scaler=scaler, progress=progress
    )


def state_of(training):
    """Weights and optimizer state of backbone and head as one flat array."""
    dense, centres = training.updater.dense, training.task.head.centres
    tensors = [*dense.weights.values(), *(t for s in dense.state.values() for t in s.values())]
    arrays = [tensor.numpy().ravel() for tensor in tensors]
    return np.concatenate([*arrays, *(centres.read(name).ravel() for name in centres.names)])


def prescribe(training, factor, head_factor):
    """Backward that leaves known gradients: the backbone's alike on all ranks."""
    training.task.head.use_rows(None)
    rank, total = world.current().rank, 0.0
    for number, weight in enumerate(training.updater.dense.weights.values()):
        random = np.random.default_rng([2, number])
        values = (factor * random.normal(0, 1, weight.shape)).astype("float32")
        total = total + (weight * paddle.to_tensor(values)).sum()
    weight = training.task.head.rows.weight
    values = np.random.default_rng([3, rank]).normal(0, 1, weight.shape)
    given = (factor * values).astype("float32")
    given[0, 0] *= head_factor
    total.backward()
    training.task.head.rows.gradient.assign(paddle.to_tensor(given))


def clips():
    arrays, report = {}, {}
    for name, clip in CLIPS.items():
        training = made(clip=clip)
        prescribe(training, 1.0, 1.0)
        found = training.updater.step(lr=0.1, step=1)
        report[name] = {"grad_norm": found.grad_norm, "overflow": found.overflow}
        dense = training.updater.dense
        for key, tensor in dense.weights.items():
            arrays[f"{name}/{key}"] = tensor.numpy()
            arrays[f"{name}/velocity/{key}"] = dense.state[key]["velocity"].numpy()
        arrays[f"{name}/velocity/head"] = training.task.head.centres.read("velocity")
    return arrays, report


def overflows():
    """Steps of which some overflow on one rank, or everywhere."""
    scaler = LossScaler(
        scale=1024.0, incr_every_n_steps=2, decr_every_n_nan_or_inf=2, max_loss_scaling=2048.0
    )
    training, states, steps = made(scaler), [], []
    states.append(state_of(training))
    for number, kind in enumerate(OVERFLOWS, 1):
        factor, one_rank = scaler.scale, world.current().rank == 1
        bad = {INF: np.inf, NAN: np.nan}.get(kind, 1.0) if one_rank else 1.0
        prescribe(training, np.inf if kind == DENSE_INF else factor, bad)
        found = training.updater.step(lr=0.1, step=number)
        states.append(state_of(training))
        steps.append([found.overflow, found.non_finite, scaler.scale])
    return {"states": np.stack(states)}, {"overflows": steps}


def images_and_labels():
    random = np.random.default_rng([4, world.current().rank])
    images = random.normal(0, 1, (BATCH, 3, 1, 1)).astype("float32")
    return images, random.integers(0, CLASSES, BATCH)


def spoilt():
    """What stops a run whose second step meets a number that is not finite."""
    errors, one_rank = {}, world.current().rank == 1
    for kind in ("image", "weight", "centre"):
        training, (images, labels) = made(), images_and_labels()
        train_step(training, faces(images, labels), lr=0.1)
        training.progress.advance()
        if kind == "image" and one_rank:
            images = images.copy()
            images[2, 1], images[3] = np.nan, np.inf
        if kind == "weight":
            training.updater.dense.weights["fc.bias"].set_value(
                np.array([1, np.nan, 1, 1], "float32")
            )
        if kind == "centre" and one_rank:
            centres = training.task.head.centres
            centres.write("weight", np.full_like(centres.read("weight"), np.inf))
        try:
            train_step(training, faces(images, labels), lr=0.1)
        except UserError as error:
            errors[kind] = str(error)
    return {}, {"errors": errors}


def lone_overflow():
    """A gradient that is not finite though the loss is, where no smaller scale is left."""
    training, (images, labels) = made(), images_and_labels()
    squares = training.updater.squares

    def spoil():
        if world.current().rank == 1:
            rows = training.task.head.rows
            rows.gradient.assign(paddle.full_like(rows.weight, np.inf))
        return squares()

    training.updater.squares = spoil
    before = state_of(training)
    try:
        train_step(training, faces(images, labels), lr=0.1)
    except UserError as error:
        return {}, {"lone": str(error), "unchanged": bool((state_of(training) == before).all())}


class Watched(DataParallel):
    """Keeps the features of the last call."""

    def __call__(self, images):
        features = super().__call__(images)
        self.features = features.numpy()
        return features


def seeds():
    """Dropout masks by step and rank: where the features are zero."""
    masks = []
    for step in (0, 1, 0):
        training, net = made(), Net(dropout=0.5)
        training.network = Watched(net)
        training.updater.dense = DenseParameters(net, state_names=["velocity"], frozen=())
        training.progress.step = step
        train_step(training, faces(*images_and_labels()), lr=0.1)
        masks.append(training.network.features == 0)
    return {"masks": np.stack(masks)}, {}


def starts():
    """Weights that differ before the wrapper, and statistics that differ after steps."""
    place = world.current()
    net = Net(seed=place.rank)
    net.bn._mean.set_value(np.full(DIM, place.rank + 5.0, "float32"))
    parallel = DataParallel(net)
    arrays = {f"start/{name}": tensor.numpy() for name, tensor in net.state_dict().items()}
    images, _ = images_and_labels()
    parallel(paddle.to_tensor(images)).sum().backward()
    for name in ("own", "averaged", "averaged twice"):
        if name != "own":
            average_buffers(net)
        for key, tensor in net.state_dict().items():
            arrays[f"{name}/{key}"] = tensor.numpy().copy()
    return arrays, {}


def accumulated():
    """The gradient of one weight after a backward that only accumulates, and after the last."""
    net = Net()
    parallel, (images, _) = DataParallel(net), images_and_labels()
    found = {}
    for name, last in (("local", False), ("summed", True)):
        with parallel.synchronised(last):
            parallel(paddle.to_tensor(images)).square().sum().backward()
        found[name] = net.bn.bias.grad.numpy().copy()
    return found, {}


def sampled():
    """Rows drawn in steps of two parts whose labels all belong to the other rank."""
    place = world.current()
    training = made(sample_ratio=0.4, seed=3)
    training.accum_steps, drawn = 2, []
    use_rows = training.task.head.use_rows
    training.task.head.use_rows = lambda rows: (drawn.append(rows.tolist()), use_rows(rows))
    before = training.task.head.centres.read("weight").copy()
    images, _ = images_and_labels()
    labels = np.array([[4, 4, 4, 4, 4, 4], [1, 1, 0, 1, 1, 1]][place.rank])
    for _ in range(3):
        train_step(training, faces(images, labels), lr=0.1)
        training.progress.advance()
    moved = (training.task.head.centres.read("weight") != before).any(axis=1)
    return {"moved": moved}, {"drawn": drawn}


def collected():
    place = world.current()
    own = paddle.to_tensor([[place.rank + 1.0, -place.rank]])
    objects = collectives.gather_objects({"rank": place.rank})
    labels = np.arange(3) + 10 * place.rank
    flags, gathered = [], []
    for way in (between_hosts.group, lambda: None):  # without a group they travel over the device
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(between_hosts, "group", way)
            flags += [collectives.agree(flag) for flag in (place.rank == 1, False, True)]
            gathered.append(collectives.gather_arrays(labels).tolist())
            gathered.append(between_hosts.describe())
    return {
        "max": collectives.reduce_max(own).numpy(),
        "sum": collectives.reduce_sum(own).numpy(),
        "gather": collectives.gather(own).numpy(),
        "broadcast": collectives.broadcast(own, source=1).numpy(),
        "own": own.numpy(),
    }, {"objects": objects, "flags": flags, "gathered": gathered}


def main(out: str) -> None:
    """Everything, one file of each kind per rank."""
    place, arrays, report = world.init(), {}, {}
    for part in (
        clips,
        overflows,
        spoilt,
        lone_overflow,
        seeds,
        starts,
        accumulated,
        sampled,
        collected,
    ):
        more_arrays, more = part()
        arrays.update({f"{part.__name__}/{name}": a for name, a in more_arrays.items()})
        report[part.__name__] = more
    np.savez(f"{out}.{place.rank}.npz", **arrays)
    Path(f"{out}.{place.rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    paddle.set_device("cpu")
    main(*sys.argv[1:])
