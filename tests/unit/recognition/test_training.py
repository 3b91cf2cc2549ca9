"""What recognition tells the engine of its steps."""

from types import SimpleNamespace

from plsc.engine.task import StepReport
from plsc.recognition.training import SampleRatioWatch


def test_a_switch_of_the_sample_ratio_is_said_once():
    lines = []
    watch = SampleRatioWatch(SimpleNamespace(line=lines.append), 0.25)
    for step, ratio in enumerate((0.25, 0.25, 1.0, 1.0), 1):
        watch(StepReport(1.0, 0.1, 1.0, 1.0, False, {}, {"sample_ratio": ratio}), step)
    assert lines == ["sample_ratio 0.25 -> 1 at step 3"]


def test_a_run_that_goes_on_after_a_switch_says_so():
    lines = []
    watch = SampleRatioWatch(SimpleNamespace(line=lines.append), 0.25)
    watch(StepReport(1.0, 0.1, 1.0, 1.0, False, {}, {"sample_ratio": 0.5}), 7)
    assert lines == ["sample_ratio 0.25 -> 0.5 at step 7"]
