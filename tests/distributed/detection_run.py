"""A detector's steps on several ranks: detection_run.py OUT.

Each rank takes its images of the same batches and writes what it found to OUT.r.npz.
"""

import sys
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from detectors import filled_detector, golden_images, golden_predictions, padded

from plsc.data.loader.batch import Batch
from plsc.detection.models.retinaface import RetinaFace_MobileNet025
from plsc.detection.sections import LossConfig
from plsc.detection.training import DetectionTraining
from plsc.distributed import world
from plsc.distributed.data_parallel import DataParallel
from plsc.engine.precision import Precision
from plsc.engine.progress import Progress
from plsc.engine.trainer import train_step
from plsc.engine.training import Training
from plsc.engine.update import Updater
from plsc.optimizer.arrangement import trained_parameters
from plsc.optimizer.momentum import Momentum

SIZE, BATCH, STEPS = 64, 4, 2
ANCHORS = 168


def faces_of(step: int) -> list[np.ndarray]:
    """Faces of each image; the last rank's have none, or no landmarks."""
    random, images = np.random.default_rng(step), []
    for count, label in ((2, 1), (1, -1), (0, 1), (1, -1)):
        corner, side = random.uniform(0, 0.4, (count, 2)), random.uniform(0.25, 0.5, (count, 1))
        points = random.uniform(0.2, 0.8, (count, 10))
        labels = np.full((count, 1), label)
        images.append(np.concatenate([corner, corner + side, points, labels], axis=1))
    return images


def own_rows() -> slice:
    place = world.current()
    each = BATCH // place.size
    return slice(place.rank * each, (place.rank + 1) * each)


def batch_of(step: int) -> Batch:
    fields = {"images": golden_images(step, BATCH, SIZE, SIZE), **padded(faces_of(step))}
    return Batch({name: values[own_rows()] for name, values in fields.items()})


def given_predictions() -> dict[str, np.ndarray]:
    """Return the loss of predictions and their gradients, of this rank's rows."""
    task, outputs = DetectionTraining(LossConfig()), golden_predictions(3, BATCH, ANCHORS)
    outputs = {name: value[own_rows()].detach() for name, value in outputs.items()}
    for value in outputs.values():
        value.stop_gradient = False
    batch = batch_of(0)
    task.begin_step(batch, step=0, fraction=0)
    found = task.loss(outputs, batch)
    found.objective.backward()
    gradients = {f"gradient/{name}": value.grad.numpy() for name, value in outputs.items()}
    return {"loss": found.logged.numpy(), **gradients}


def whole_steps() -> dict[str, np.ndarray]:
    """Return losses and weights after steps with BatchNorm as in inference."""
    net, rule, precision = filled_detector(RetinaFace_MobileNet025()), Momentum(0.9, 5e-4), None
    net.train()
    for layer in net.sublayers():
        if isinstance(layer, nn.BatchNorm2D):
            layer.eval()
    precision = Precision()
    given = {"frozen": (), "state_names": rule.state_names, "clip": None, "no_weight_decay": ()}
    training = Training(
        network=DataParallel(net),
        task=DetectionTraining(LossConfig()),
        updater=Updater(
            trained_parameters(net, **given), rule=rule, clip=None, scaler=precision.scaler
        ),
        precision=precision,
        schedule=lambda time: 1e-4,
        loader=None,
        progress=Progress(epochs=1, num_images=0, steps_per_epoch=9, global_batch=BATCH),
    )
    losses = []
    for step in range(STEPS):
        losses.append(train_step(training, batch_of(step), lr=1e-4).loss)
        training.progress.advance()
    weights = training.updater.dense.weights
    return {"losses": np.array(losses)} | {f"weight/{k}": w.numpy() for k, w in weights.items()}


def main(out: str) -> None:
    place = world.init()
    np.savez(f"{out}.{place.rank}.npz", **given_predictions(), **whole_steps())


if __name__ == "__main__":
    paddle.set_device("cpu")
    main(*sys.argv[1:])
