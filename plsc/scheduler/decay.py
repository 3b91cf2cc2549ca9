"""Schedules: optimizer steps taken -> learning rate of the next step. Pure functions."""

import bisect
import math
from typing import Annotated

from plsc.config.registry import SCHEDULES
from plsc.config.schema import Range
from plsc.errors import UserError
from plsc.scheduler.warmup import Schedule, Unit, Warmup

Rate = Annotated[float, Range(0)]
Count = Annotated[int, Range(0)]
Epochs = Annotated[float, Range(0)]


@SCHEDULES.register
def Poly(  # noqa: N802 (the name in the configs)
    *,
    learning_rate: Rate,
    decay_unit: Unit = "step",
    warmup_steps: Count = 0,
    warmup_epochs: Epochs = 0,
    warmup_start_lr: Rate = 0.0,
    warmup_end_lr: Rate = 0.0,
    epochs: int,
    steps_per_epoch: int,
) -> Schedule:
    """PLSC's: learning_rate · (1 − fraction after warm-up)²."""
    warmup = Warmup.from_config(
        decay_unit=decay_unit,
        warmup_steps=warmup_steps,
        warmup_epochs=warmup_epochs,
        warmup_start_lr=warmup_start_lr,
        warmup_end_lr=warmup_end_lr,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    )
    return warmup(lambda t: learning_rate * (1.0 - warmup.passed(t)) ** 2)


@SCHEDULES.register
def TimmCosine(  # noqa: N802
    *,
    learning_rate: Rate,
    eta_min: Rate = 0.0,
    decay_unit: Unit = "step",
    warmup_steps: Count = 0,
    warmup_epochs: Epochs = 0,
    warmup_epoch: Epochs | None = None,
    warmup_start_lr: Rate = 0.0,
    warmup_end_lr: Rate | None = None,
    warmup_prefix: bool = False,
    epochs: int,
    steps_per_epoch: int,
) -> Schedule:
    """Half a cosine from learning_rate to eta_min, in timm's manner.

    `warmup_prefix` True: the cosine begins after the warm-up; False: it runs from step 0 and the
    warm-up hides its beginning. `warmup_epoch` is another spelling of `warmup_epochs`.
    """
    warmup = Warmup.from_config(
        decay_unit=decay_unit,
        warmup_steps=warmup_steps,
        warmup_epochs=warmup_epochs if warmup_epoch is None else warmup_epoch,
        warmup_start_lr=warmup_start_lr,
        warmup_end_lr=learning_rate if warmup_end_lr is None else warmup_end_lr,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    )

    def cosine(t: float) -> float:
        done = warmup.passed(t) if warmup_prefix else min(t / warmup.total, 1.0)
        return eta_min + (learning_rate - eta_min) * 0.5 * (1.0 + math.cos(math.pi * done))

    return warmup(cosine)


@SCHEDULES.register
def Step(  # noqa: N802
    *,
    boundaries: list[Epochs],
    values: list[Rate],
    decay_unit: Unit = "step",
    warmup_steps: Count = 0,
    warmup_epochs: Epochs = 0,
    warmup_start_lr: Rate = 0.0,
    warmup_end_lr: Rate | None = None,
    epochs: int,
    steps_per_epoch: int,
) -> Schedule:
    """values[i] until boundaries[i] (in decay_unit, counted from the start), values[-1] after."""
    if len(values) != len(boundaries) + 1 or boundaries != sorted(boundaries):
        raise UserError(
            f"LRScheduler.values must hold one value more than the ascending boundaries, got "
            f"{len(values)} values and boundaries {boundaries}"
        )
    warmup = Warmup.from_config(
        decay_unit=decay_unit,
        warmup_steps=warmup_steps,
        warmup_epochs=warmup_epochs,
        warmup_start_lr=warmup_start_lr,
        warmup_end_lr=values[0] if warmup_end_lr is None else warmup_end_lr,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    )
    return warmup(lambda t: values[bisect.bisect_right(boundaries, t)])
