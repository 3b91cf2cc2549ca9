"""What recognition tells the engine of its steps."""

from types import SimpleNamespace

import pytest

from plsc.engine.task import StepReport
from plsc.recognition.training import SampleRatioWatch


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ({1: 0.25, 2: 0.25, 3: 1.0, 4: 1.0}, "sample_ratio 0.25 -> 1 at step 3"),
        ({7: 0.5}, "sample_ratio 0.25 -> 0.5 at step 7"),  # resumed after a switch
    ],
)
def test_a_switch_of_the_sample_ratio_is_said_once(steps, expected):
    lines = []
    watch = SampleRatioWatch(SimpleNamespace(line=lines.append), 0.25)
    for step, ratio in steps.items():
        watch(StepReport(1.0, 0.1, 1.0, 1.0, False, {}, {"sample_ratio": ratio}), step)
    assert lines == [expected]
