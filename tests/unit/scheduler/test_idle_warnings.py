"""A learning rate of 0 is said before it costs a run."""

import re

import pytest

from plsc.config.component import Component
from plsc.config.registry import SCHEDULES
from plsc.scheduler.warmup import idle_warnings

STEPS = 12


def warnings(name, **params):
    schedule = Component(name, {"learning_rate": 0.1, **params}, "LRScheduler").build(
        SCHEDULES, epochs=2, steps_per_epoch=STEPS // 2
    )
    return " ".join(idle_warnings(schedule))


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("Poly", {"warmup_steps": 1000}, "first 12 of 12 steps.*warmup_end_lr"),
        ("Poly", {"warmup_steps": 4}, "first 4 of 12 steps.*warmup_end_lr"),
        ("Poly", {"learning_rate": 0}, "first 12 of 12 steps.*learning_rate above 0"),
        ("TimmCosine", {"warmup_steps": 1000}, "warm-up of 1000 steps.*never"),
        (
            "TimmCosine",
            {"decay_unit": "epoch", "warmup_epochs": 1},
            "first 6 of 12 steps.*warmup_start_lr",
        ),
    ],
)
def test_a_rate_of_zero_for_more_than_a_step_is_said(name, params, said):
    assert re.search(said, warnings(name, **params))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("Poly", {}),
        ("Poly", {"warmup_steps": 4, "warmup_end_lr": 0.1}),
        ("Poly", {"warmup_steps": 1}),
        ("TimmCosine", {"warmup_steps": 4}),
    ],
)
def test_a_usual_schedule_is_silent(name, params):
    assert warnings(name, **params) == ""
