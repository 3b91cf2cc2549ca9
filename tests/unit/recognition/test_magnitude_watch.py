"""The warning of magnitudes that cannot move, and the range that it suggests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import Log

from plsc.engine.task import StepReport
from plsc.recognition.losses.adaface import AdaFace
from plsc.recognition.losses.magface import MagFace
from plsc.recognition.losses.margin import MarginLoss
from plsc.recognition.magnitude_watch import STEPS, MagnitudeWatch, suggested_range


def seen(low, middle, high, outside):
    return {
        "magnitude_p5": low,
        "magnitude_p50": middle,
        "magnitude_p95": high,
        "magnitude_outside": outside,
    }


def report(statistics):
    return StepReport(1.0, 0.1, 1.0, 1.0, False, statistics, {})


def watched(statistics, margins=None, steps=STEPS):
    log = Log()
    watch = MagnitudeWatch(log, margins or [MarginLoss(), MagFace()])
    for _ in range(steps):
        watch(report(statistics), 1)
    return log.lines


def test_weights_of_another_loss():
    """Norms near 1 under MagFace's own range; the suggestion is one that lets them move."""
    (line,) = watched(seen(0.92, 1.05, 1.31, 1.0), steps=3 * STEPS)
    assert line.startswith("WARNING: magnitudes will stay flat: 100% of those of the last 20 steps")
    assert "outside l_a 10 to u_a 110" in line
    l_a, u_a = suggested_range(0.92, 1.31)
    assert (
        f"set l_a {l_a:g}, u_a {u_a:g} and lambda_g above {MagFace().bound(l_a, u_a):.4g}" in line
    )
    MagFace(l_a=l_a, u_a=u_a)  # may be set


def test_a_frozen_backbone_is_told_of_at_once_and_gets_no_other_range():
    log = Log()
    watch = MagnitudeWatch(log, [MagFace()], frozen=True)
    for _ in range(2 * STEPS):
        watch(report(seen(0.92, 1.05, 1.31, 1.0)), 1)
    (line,) = log.lines
    assert "freeze_backbone" in line and "only the class centres learn from MagFace" in line
    MagnitudeWatch(log, [MarginLoss()], frozen=True)
    assert log.lines == [line]


def test_a_range_that_fits():
    assert watched(seen(14.0, 21.0, 29.0, 0.02), steps=10 * STEPS) == []


def test_magnitudes_that_are_near_to_each_other_but_not_alike():
    assert watched(seen(20.0, 20.3, 20.6, 0.0)) == []


def test_some_batches_are_no_rule():
    assert watched(seen(0.92, 1.05, 1.31, 1.0), steps=STEPS - 1) == []


def test_it_judges_again_later():
    log = Log()
    watch = MagnitudeWatch(log, [MagFace()])
    for statistics in [seen(14, 21, 29, 0.0)] * STEPS + [seen(150, 170, 190, 0.95)] * STEPS:
        watch(report(statistics), 1)
    (line,) = log.lines
    assert "150 and 190" in line


def test_a_network_that_normalises():
    (line,) = watched(seen(1.0, 1.0, 1.0, 0.0), [MagFace(l_a=0.5, u_a=2.0)])
    assert "all alike" in line and "normalise" in line


@pytest.mark.parametrize("margin", [MarginLoss(), AdaFace()])
def test_other_losses_have_no_range(margin):
    assert watched({}, [margin], steps=2 * STEPS) == []


def test_dead_features_end_in_a_warning_too():
    (line,) = watched(seen(0.0, 0.0, 0.0, 1.0))
    assert "stay flat" in line


@given(st.floats(1e-3, 1e4), st.floats(1.0, 50))
def test_the_suggestion_has_room_on_both_sides(low, ratio):
    l_a, u_a = suggested_range(low, low * ratio)
    assert 0 < l_a <= 0.8 * low * 1.001
    assert u_a >= max(2 * low * ratio, 11 * l_a) * 0.999
    assert u_a <= max(2 * low * ratio, 11 * l_a) * 1.11
