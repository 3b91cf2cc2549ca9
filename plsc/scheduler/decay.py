"""The schedules that `LRScheduler.name` may be."""

import bisect
import math
from dataclasses import dataclass

from plsc.config.registry import SCHEDULES
from plsc.errors import UserError
from plsc.scheduler.warmup import Epochs, Rate, WarmupSchedule


@SCHEDULES.register
@dataclass(kw_only=True)
class Poly(WarmupSchedule):
    """PLSC's: learning_rate · (1 − fraction after warm-up)²."""

    learning_rate: Rate
    warmup_end_lr: Rate = 0.0

    def decay(self, t: float) -> float:
        """See WarmupSchedule."""
        return self.learning_rate * (1.0 - self.passed(t)) ** 2


@SCHEDULES.register
@dataclass(kw_only=True)
class TimmCosine(WarmupSchedule):
    """Half a cosine from learning_rate to eta_min, in timm's manner.

    `warmup_prefix` True: the cosine begins after the warm-up; False: it runs from step 0 and the
    warm-up hides its beginning. `warmup_epoch` is another spelling of `warmup_epochs`.
    """

    learning_rate: Rate
    eta_min: Rate = 0.0
    warmup_epoch: Epochs | None = None
    warmup_prefix: bool = False

    def __post_init__(self) -> None:
        """Take one spelling for the other; warm up to the learning rate if nothing else is said."""
        if self.warmup_epoch is not None:
            self.warmup_epochs = self.warmup_epoch
        if self.warmup_end_lr is None:
            self.warmup_end_lr = self.learning_rate

    def decay(self, t: float) -> float:
        """See WarmupSchedule."""
        done = self.passed(t) if self.warmup_prefix else min(t / self.total, 1.0)
        half_cosine = 0.5 * (1.0 + math.cos(math.pi * done))
        return self.eta_min + (self.learning_rate - self.eta_min) * half_cosine


@SCHEDULES.register
@dataclass(kw_only=True)
class Step(WarmupSchedule):
    """values[i] until boundaries[i] (in decay_unit, counted from the start), values[-1] after."""

    boundaries: list[Epochs]
    values: list[Rate]

    def __post_init__(self) -> None:
        """Refuse values that do not go with the boundaries; warm up to the first of them."""
        if len(self.values) != len(self.boundaries) + 1 or self.boundaries != sorted(
            self.boundaries
        ):
            raise UserError(
                f"LRScheduler.values must hold one value more than the ascending boundaries, got "
                f"{len(self.values)} values and boundaries {self.boundaries}"
            )
        if self.warmup_end_lr is None:
            self.warmup_end_lr = self.values[0]

    def decay(self, t: float) -> float:
        """See WarmupSchedule."""
        return self.values[bisect.bisect_right(self.boundaries, t)]
