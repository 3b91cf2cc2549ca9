"""The part that all schedules share: units and linear warm-up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Schedule = Callable[[float], float]
Unit = Literal["step", "epoch"]


@dataclass(frozen=True)
class Warmup:
    """Linear from `start_lr` to `end_lr`, in optimizer steps or in whole epochs.

    `time(t)` turns the number of optimizer steps taken (a fraction after a resume on another
    number of ranks) into the schedule's unit; `total` is the length of training in that unit.
    """

    unit: Unit
    length: float
    total: float
    start_lr: float
    end_lr: float
    steps_per_epoch: int

    @classmethod
    def from_config(
        cls,
        *,
        decay_unit: Unit,
        warmup_steps: int,
        warmup_epochs: float,
        warmup_start_lr: float,
        warmup_end_lr: float,
        epochs: int,
        steps_per_epoch: int,
    ) -> "Warmup":
        """PLSC's keys: `warmup_steps` where given, else `warmup_epochs`."""
        if decay_unit == "epoch":
            length, total = warmup_epochs, epochs
        else:
            length = warmup_steps or warmup_epochs * steps_per_epoch
            total = epochs * steps_per_epoch
        return cls(decay_unit, length, total, warmup_start_lr, warmup_end_lr, steps_per_epoch)

    def time(self, step: float) -> float:
        """Optimizer steps taken -> the schedule's unit; epochs count when they are whole."""
        return step if self.unit == "step" else float(step // self.steps_per_epoch)

    def passed(self, t: float) -> float:
        """Share of the time after the warm-up that has passed at `t`, in [0, 1]."""
        return min((t - self.length) / max(self.total - self.length, 1e-12), 1.0)

    def __call__(self, decay: Schedule) -> Schedule:
        """The warm-up, then `decay(t)`, t in the schedule's unit from the start of training."""

        def schedule(step: float) -> float:
            t = self.time(step)
            if t < self.length:
                return self.start_lr + (self.end_lr - self.start_lr) * t / self.length
            return decay(t)

        return schedule
