"""MindFace's schedules give what MindFace's function gave."""

import json

import pytest

from plsc.scheduler.mindface import MindFaceCosine, MindFaceStep


@pytest.mark.parametrize("index", range(4))
def test_learning_rates(golden, index):
    case = json.loads((golden / "detection/schedules.json").read_text())["learning_rate"][index]
    given = {
        "learning_rate": case["initial_lr"],
        "warmup_epochs": case["warmup_epoch"],
        "epochs": case["total_epochs"],
        "steps_per_epoch": case["steps_pre_epoch"],
    }
    if case["lr_type1"] == "dynamic_lr":
        schedule = MindFaceCosine(**given)
    else:
        first, second = case["stepvalues"]
        schedule = MindFaceStep(**given, decay1=first, decay2=second, gamma=case["gamma"])
    found = [schedule(step) for step in case["step"]]
    assert found == pytest.approx(case["lr"], rel=1e-7)


def test_a_warm_up_in_steps():
    """As the golden training runs have it: 3 of 8 steps."""
    schedule = MindFaceCosine(learning_rate=3e-5, warmup_steps=3, epochs=1, steps_per_epoch=8)
    assert [schedule(step) for step in (0, 2, 3, 7)] == pytest.approx(
        [1e-5, 7e-5 / 3, 3e-5, 1.5e-5]
    )
