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
    """Take one optimizer step; all ranks call this together, each with its own batch.

    Args:
        training: the network, the task, the optimizer and their state.
        batch: the batch of this rank.
        lr: learning rate.
        upcoming: the batch of the next step, if it has been read already.

    Returns:
        The loss, the norm of the gradient and the statistics of the step.

    Raises:
        UserError: the loss is not finite, or a gradient is not finite at the smallest loss scale.
            All ranks raise the same error.

    """
    network, task, progress = training.network, training.task, training.progress
    scale, parts = training.precision.scaler.scale, training.accum_steps
    paddle.seed(_step_seed(training.seed, progress.step))
    following = upcoming if task.wants_upcoming else None
    task.begin_step(batch, step=progress.step, fraction=progress.fraction, upcoming=following)
    images = training.images.take(batch)
    scalars = dict[Any, Scalar]()
    outputs_of_parts = []
    for number, part in enumerate(batch.split(parts), 1):
        inputs = _inputs(training, images, number)
        with network.synchronised(number == parts):
            with training.precision.autocast(), paddle.set_grad_enabled(not training.frozen):
                outputs = network(inputs)
            loss_of_part = task.loss(outputs, part)
            (loss_of_part.objective * scale).backward()
        outputs_of_parts.append(outputs)
        scalars[number] = loss_of_part.logged.detach()
        scalars |= {(name, number): value for name, value in loss_of_part.statistics.items()}
    squares = training.updater.squares()
    if training.images.ahead and upcoming is not None:  # while the device computes
        training.images.send(upcoming)
    # This is the only wait for the device in a step. The host reads everything that it needs here,
    # before the step changes anything.
    numbers = read_scalars({**scalars, **squares})
    loss = math.fsum(numbers[number] for number in range(1, parts + 1))
    tensors = task.tensors()  # the update releases them
    if not math.isfinite(loss):
        number = next(n for n in range(1, parts + 1) if not math.isfinite(numbers[n]))
        inputs, outputs = _inputs(training, images, number), outputs_of_parts[number - 1]
        suspects = _suspects(training, inputs, outputs, tensors)
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
        for name in loss_of_part.statistics
    }
    figures = task.figures(progress.fraction)
    return StepReport(loss, lr, update.grad_norm, scale, update.overflow, statistics, figures)


def _inputs(training: Training, images: Tensor, number: int) -> Tensor:
    """Return the network's input for part `number`, from 1, of the images of a step."""
    if training.accum_steps > 1:
        size = len(images) // training.accum_steps
        images = images[(number - 1) * size : number * size]
    return training.normalise(images)


def _step_seed(seed: int, step: int) -> int:
    """Return the seed of dropout in a step, so that a resumed run needs no generator's state."""
    rank = world.current().rank
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])


def _suspects(
    training: Training, inputs: Tensor, outputs: object, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors of a part of a step, in the order of their computation."""
    weights = {f"network {name}": w for name, w in training.updater.dense.weights.items()}
    leaves = named_leaves(outputs, "output")
    results = {name: leaf for name, leaf in leaves if isinstance(leaf, Tensor)}
    return {"images": inputs, **weights, **results, **tensors}
