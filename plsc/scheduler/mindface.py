"""The two schedules with which MindFace trains detectors."""

import math
from dataclasses import dataclass
from typing import Annotated

from plsc.config.registry import SCHEDULES
from plsc.config.schema import Range
from plsc.scheduler.warmup import Count, Rate

FIRST_SHARE = 1 / 3  # of the learning rate, at the first step of MindFaceCosine's warm-up
FIRST_STAIR, STAIR = 0.1, 1.5849  # of MindFaceStep's warm-up, and its growth in each epoch
NO_WARMUP = -1  # what MindFace's configs say for none


@SCHEDULES.register
@dataclass(kw_only=True)
class MindFaceCosine:
    """Warm-up from a third of learning_rate, then half a cosine: MindFace's `dynamic_lr`.

    The cosine begins after the warm-up and is as long as all of training: with a warm-up it does
    not reach 0. `warmup_epochs: -1` is MindFace's for none; its cosine begins an epoch before
    training, and so turns upwards in the last one. `warmup_steps` counts instead where given.
    """

    learning_rate: Rate
    warmup_epochs: Annotated[float, Range(NO_WARMUP)] = 0
    warmup_steps: Count = 0
    epochs: int
    steps_per_epoch: int

    def __call__(self, step: float) -> float:
        """Return the rate after `step` steps."""
        warmup = self.warmup_steps or self.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return self.learning_rate * (FIRST_SHARE + (1 - FIRST_SHARE) * step / warmup)
        done = (step - warmup) / (self.epochs * self.steps_per_epoch)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@SCHEDULES.register
@dataclass(kw_only=True)
class MindFaceStep:
    """Stairs up to learning_rate over the warm-up's epochs, then two steps down by `gamma`.

    Epochs count from 1: the rate falls in that of `decay1`, and again after that of `decay2`.
    """

    learning_rate: Rate
    decay1: Count
    decay2: Count
    gamma: Rate = 0.1
    warmup_epochs: Annotated[int, Range(NO_WARMUP)] = 0
    epochs: int
    steps_per_epoch: int

    def __call__(self, step: float) -> float:
        """Return the rate after `step` steps."""
        epoch = int(step // self.steps_per_epoch) + 1
        if epoch <= self.warmup_epochs:
            return FIRST_STAIR * self.learning_rate * STAIR ** (epoch - 1)
        falls = (epoch >= self.decay1) + (epoch > self.decay2)
        return self.learning_rate * self.gamma**falls
