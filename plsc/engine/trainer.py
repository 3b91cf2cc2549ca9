"""The training loop: `fit` and `train_step`."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import paddle
from paddle import Tensor

from plsc.data.loader.batch import Batch
from plsc.data.transforms.normalisation import as_given
from plsc.distributed import world
from plsc.distributed.data_parallel import DataParallel
from plsc.engine.keeper import Keeper
from plsc.engine.non_finite import non_finite_error
from plsc.engine.precision import Precision
from plsc.engine.progress import Progress
from plsc.engine.update import Updater
from plsc.optimizer.clip import HEAD
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.scheduler.warmup import Schedule


class Loader(Protocol):
    """Batches of one epoch after `consumed` images of its order."""

    def batches(self, epoch: int, consumed: int) -> Iterator[Batch]:
        """This rank's batches."""

    def take_skipped(self) -> dict[int, str]:
        """Images left out since the last call: place and reason by number."""


@dataclass
class Training:
    """What training changes and what changes it; made by `build`.

    `normalise` makes a batch of the loader's images the backbone's input, float32 [b,3,h,w].
    """

    backbone: DataParallel
    head: PartialFC
    updater: Updater
    precision: Precision
    schedule: Schedule
    loader: Loader
    progress: Progress
    normalise: Callable[[Any], Any] = as_given
    accum_steps: int = 1
    freeze_backbone: bool = False
    seed: int = 0


@dataclass(frozen=True)
class StepReport:
    """What one step did; `loss` is the mean over the global batch.

    `sample_ratio` is the share of the class centres that took part.
    """

    loss: float
    lr: float
    grad_norm: float
    loss_scale: float
    skipped: bool
    statistics: dict[str, float]
    sample_ratio: float = 1.0


def fit(training: Training, keeper: Keeper) -> None:
    """Train to the last epoch, or until the keeper says stop."""
    progress, stop = training.progress, keeper.stopping()
    while not (stop or progress.finished):
        batches = training.loader.batches(*progress.position)
        ahead = _with_next_labels(batches, wanted=training.head.centres.prefetches)
        for batch, upcoming in keeper.epoch(ahead):
            lr, images, labels = training.schedule(progress.time), batch["images"], batch["labels"]
            report = train_step(training, images, labels, lr=lr, upcoming=upcoming)
            progress.advance()
            stop = keeper.after_step(report)
            if stop:
                break
        else:
            progress.next_epoch()
            stop = keeper.after_epoch()
    keeper.end()


def train_step(
    training: Training,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    lr: float,
    upcoming: np.ndarray | None = None,
) -> StepReport:
    """One optimizer step of all ranks on their images [b,...] and labels [b].

    `upcoming` are the labels of the next step, if they are known.
    """
    head, step, fraction = training.head, training.progress.step, training.progress.fraction
    scale, parts = training.precision.scaler.scale, training.accum_steps
    paddle.seed(_step_seed(training.seed, step))
    head.begin_step(labels, step=step, fraction=fraction)
    if upcoming is not None:
        head.prefetch(upcoming, step=step + 1, fraction=fraction)
    loss, statistics = 0.0, dict[str, float]()
    for part, (pixels, y) in enumerate(_micro_batches(images, labels, parts)):
        x = training.normalise(pixels)
        with training.backbone.synchronised(part == parts - 1):
            frozen = training.freeze_backbone
            with training.precision.autocast(), paddle.set_grad_enabled(not frozen):
                features = training.backbone(x)
            output = head(features, y)
            (output.loss * (scale / parts)).backward()
        loss += output.loss.item() / parts  # waits for the device, as the norms below do anyway
        for name, value in _numbers(output.statistics).items():
            statistics[name] = statistics.get(name, 0.0) + value / parts
        if not math.isfinite(loss):
            suspects = _suspects(training, x, features)
            raise non_finite_error(step + 1, f"the loss is {loss}", suspects)
    update = training.updater.step(lr=lr, step=step + 1)
    if update.overflow and scale <= 1.0:  # no smaller scale is left to try
        what = f"the gradient of {update.non_finite} is not finite"
        raise non_finite_error(step + 1, what, _suspects(training, x, features))
    ratio = head.ratio(fraction)
    return StepReport(loss, lr, update.grad_norm, scale, update.overflow, statistics, ratio)


def _with_next_labels(
    batches: Iterator[Batch], *, wanted: bool
) -> Iterator[tuple[Batch, np.ndarray | None]]:
    """Yield each batch and, if `wanted`, the labels of the one after it."""
    if not wanted:  # then no batch is read before it is needed
        yield from ((batch, None) for batch in batches)
        return
    following = next(batches, None)
    while following is not None:
        batch, following = following, next(batches, None)
        yield batch, None if following is None else following["labels"]


def _numbers(scalars: dict[str, Tensor]) -> dict[str, float]:
    """Scalars as numbers, with a single wait for the device."""
    if not scalars:
        return {}
    return dict(zip(scalars, paddle.stack(list(scalars.values())).tolist(), strict=True))


def _step_seed(seed: int, step: int) -> int:
    """Seed of dropout and the like; a function of the step, so a resumed run needs no state."""
    rank = world.current().rank
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])


def _micro_batches(
    images: np.ndarray, labels: np.ndarray, parts: int
) -> Iterator[tuple[Tensor, np.ndarray]]:
    for x, y in zip(np.split(images, parts), np.split(labels, parts), strict=True):
        yield paddle.to_tensor(x), y


def _suspects(training: Training, images: Tensor, features: Tensor) -> dict[str, Tensor]:
    """The tensors of a step in the order in which they are computed."""
    weights = {f"backbone {name}": w for name, w in training.updater.dense.weights.items()}
    rows = training.head.rows
    centres = {HEAD: rows.weight} if rows is not None else {}
    return {"images": images, **weights, "features": features, **centres}
