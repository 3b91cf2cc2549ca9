"""The training loop: `fit` and `train_step`."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
from paddle import Tensor

from plsc.data.loader.batch import Batch
from plsc.distributed import world
from plsc.engine.checkpoints import Checkpoints
from plsc.engine.evaluation import Evaluation
from plsc.engine.non_finite import non_finite_error
from plsc.engine.recorder import Recorder
from plsc.engine.stopping import Stopping
from plsc.engine.training import Training
from plsc.engine.training_task import StepReport
from plsc.engine.update import Scalar, read_scalars
from plsc.nn.nest import named_leaves


def fit(
    training: Training,
    recorder: Recorder,
    evaluation: Evaluation,
    checkpoints: Checkpoints,
    stopping: Stopping,
) -> None:
    """Train to the last epoch, or until a signal or Global.max_train_step ends the run."""
    progress = training.progress
    read_ahead = training.task.wants_upcoming or training.images.ahead
    stop = stopping.now()
    while not (stop or progress.finished):
        batches = recorder.epoch(training.loader.batches(*progress.position))
        batch = next(batches, None)
        while batch is not None and not stop:
            upcoming = next(batches, None) if read_ahead else None
            recorder.step_begins()
            report = train_step(
                training, batch, lr=training.schedule(progress.time), upcoming=upcoming
            )
            progress.advance()
            recorder.step_ends(report)
            evaluation.after("step")
            checkpoints.after("step")
            stop = stopping.now()
            if not stop:
                batch = upcoming if read_ahead else next(batches, None)
        if not stop:
            progress.next_epoch()
            recorder.epoch_ends()
            evaluation.after("epoch")
            checkpoints.after("epoch")
            stop = stopping.now()
    if stop:
        checkpoints.save()
    recorder.run_ends()


def train_step(
    training: Training, batch: Batch, *, lr: float, upcoming: Batch | None = None
) -> StepReport:
    """Take one optimizer step of all ranks on their batches; return what it did.

    Args:
        training: what is trained.
        batch: of this rank.
        lr: learning rate.
        upcoming: the batch of the next step, if it is known.

    Raises:
        UserError: the loss is not finite, or a gradient is not and no smaller loss scale is left
            to try; the same on all ranks.

    """
    network, task, progress = training.network, training.task, training.progress
    scale, parts = training.precision.scaler.scale, training.accum_steps
    paddle.seed(_step_seed(training.seed, progress.step))
    known = upcoming if task.wants_upcoming else None
    task.begin_step(batch, step=progress.step, fraction=progress.fraction, upcoming=known)
    images = training.images.take(batch)
    scalars = dict[Any, Scalar]()
    made = []
    for number, part in enumerate(batch.split(parts), 1):
        inputs = _inputs(training, images, number)
        with network.synchronised(number == parts):
            with training.precision.autocast(), paddle.set_grad_enabled(not training.frozen):
                outputs = network(inputs)
            found = task.loss(outputs, part)
            (found.objective * scale).backward()
        made.append(outputs)
        scalars[number] = found.logged.detach()
        scalars |= {(name, number): value for name, value in found.statistics.items()}
    squares = training.updater.squares()
    if training.images.ahead and upcoming is not None:  # while the device is at work
        training.images.send(upcoming)
    # All that the host wants to know of the step is read here, at once and before any change.
    numbers = read_scalars({**scalars, **squares})
    loss = math.fsum(numbers[number] for number in range(1, parts + 1))
    tensors = task.tensors()  # before the update lets go of them
    if not math.isfinite(loss):
        number = next(n for n in range(1, parts + 1) if not math.isfinite(numbers[n]))
        suspects = _suspects(training, _inputs(training, images, number), made[number - 1], tensors)
        raise non_finite_error(progress.step + 1, f"the loss is {loss}", suspects)
    update = training.updater.step(
        lr=lr, step=progress.step + 1, squares={name: numbers[name] for name in squares}
    )
    if update.overflow and scale <= 1.0:  # no smaller scale is left to try
        what = f"the gradient of {update.non_finite} is not finite"
        suspects = _suspects(training, inputs, outputs, tensors)
        raise non_finite_error(progress.step + 1, what, suspects)
    statistics = {
        name: math.fsum(numbers[name, number] for number in range(1, parts + 1)) / parts
        for name in found.statistics
    }
    figures = task.figures(progress.fraction)
    return StepReport(loss, lr, update.grad_norm, scale, update.overflow, statistics, figures)


def _inputs(training: Training, images: Tensor, number: int) -> Tensor:
    """Return what the network is given of the images of a step: its part `number`, from 1."""
    if training.accum_steps > 1:
        size = len(images) // training.accum_steps
        images = images[(number - 1) * size : number * size]
    return training.normalise(images)


def _step_seed(seed: int, step: int) -> int:
    """Return the seed of dropout and the like: a resumed run needs no state of generators."""
    rank = world.current().rank
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])


def _suspects(
    training: Training, inputs: Tensor, outputs: object, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors of a part of a step in the order in which they are computed."""
    weights = {f"network {name}": w for name, w in training.updater.dense.weights.items()}
    leaves = named_leaves(outputs, "output")
    results = {name: leaf for name, leaf in leaves if isinstance(leaf, Tensor)}
    return {"images": inputs, **weights, **results, **tensors}
