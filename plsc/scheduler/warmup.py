"""The part that all schedules share: units and linear warm-up."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from plsc.config.schema import Range

Schedule = Callable[[float], float]
Rate = Annotated[float, Range(0)]
Count = Annotated[int, Range(0)]
Epochs = Annotated[float, Range(0)]


@dataclass(kw_only=True)
class WarmupSchedule(ABC):
    """Optimizer steps taken -> learning rate of the next: linear warm-up, then `decay`.

    In optimizer steps or in whole epochs, as PLSC's keys have it: `warmup_steps` where given, else
    `warmup_epochs`.
    """

    decay_unit: Literal["step", "epoch"] = "step"
    warmup_steps: Count = 0
    warmup_epochs: Epochs = 0
    warmup_start_lr: Rate = 0.0
    warmup_end_lr: Rate | None = None
    epochs: int
    steps_per_epoch: int

    @abstractmethod
    def decay(self, t: float) -> float:
        """Return the rate after the warm-up; `t` from the start of training, in decay_unit."""

    @property
    def length(self) -> float:
        """Length of the warm-up, in decay_unit."""
        if self.decay_unit == "epoch":
            return self.warmup_epochs
        return self.warmup_steps or self.warmup_epochs * self.steps_per_epoch

    @property
    def total(self) -> int:
        """Length of training, in decay_unit."""
        return self.epochs * (1 if self.decay_unit == "epoch" else self.steps_per_epoch)

    def passed(self, t: float) -> float:
        """Return the share of the time after the warm-up that has passed at `t`, in [0, 1]."""
        return min((t - self.length) / max(self.total - self.length, 1e-12), 1.0)

    def __call__(self, step: float) -> float:
        """Return the rate after `step` steps; a fraction after a resume on other ranks."""
        t = step if self.decay_unit == "step" else float(step // self.steps_per_epoch)
        if t >= self.length:
            return self.decay(t)
        assert self.warmup_end_lr is not None
        return self.warmup_start_lr + (self.warmup_end_lr - self.warmup_start_lr) * t / self.length


def idle_warnings(schedule: WarmupSchedule, *, first: int = 0) -> tuple[str, ...]:
    """Return what to say of optimizer steps that change nothing, and of a warm-up without end.

    Args:
        schedule: the run's.
        first: the step that the run begins with.

    """
    steps = schedule.epochs * schedule.steps_per_epoch
    idle = 0
    while first + idle < steps and schedule(first + idle) == 0:
        idle += 1
    said = []
    if idle > 1:
        length = schedule.length
        remedy = "set LRScheduler.learning_rate above 0"
        if length and schedule(first + idle - 1) == schedule.warmup_end_lr == 0:
            remedy = "set LRScheduler.warmup_end_lr to the rate that the warm-up ends at"
        elif length:
            remedy = "set LRScheduler.warmup_start_lr above 0, or decay_unit: step"
        said.append(
            f"the learning rate is 0 for the first {idle} of {steps} steps, in which "
            f"nothing is learned: {remedy}"
        )
    if schedule.length >= schedule.total and schedule.length:
        said.append(
            f"the warm-up of {schedule.length:g} {schedule.decay_unit}s is as long as the "
            f"run ({schedule.total}) or longer: the learning rate never gets to its peak"
        )
    return tuple(said)
