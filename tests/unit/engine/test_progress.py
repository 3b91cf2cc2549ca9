"""Where training stands, and how another world size goes on from there."""

import pytest

from plsc.engine.progress import Progress


def progress(**changes):
    options = {"epochs": 3, "num_images": 100, "steps_per_epoch": 10, "global_batch": 10}
    return Progress(**{**options, **changes})


def test_steps_and_epochs():
    now = progress()
    assert (now.position, now.time, now.steps_left, now.name) == ((0, 0), 0, 30, "epoch_0")
    for _ in range(4):
        now.advance()
    assert (now.position, now.time, now.steps_left, now.name) == ((0, 40), 4, 26, "step_4")
    for _ in range(6):
        now.advance()
    now.next_epoch()
    assert (now.position, now.time, now.steps_left, now.name) == ((1, 0), 10, 20, "epoch_1")
    assert (now.step, now.finished) == (10, False)
    now.next_epoch()
    now.next_epoch()
    assert (now.finished, now.steps_left) == (True, 0)


def test_another_global_batch_goes_on_at_the_same_fraction():
    first = progress(best_metric=0.75)
    first.next_epoch()
    for _ in range(3):
        first.advance()
    second = progress(global_batch=20, steps_per_epoch=5)
    second.restore(first.state())
    assert second.position == (1, 30)
    assert second.time == 5 + 1.5
    assert second.fraction == pytest.approx(first.fraction) == pytest.approx(13 / 30)
    assert (second.step, second.best_metric) == (3, 0.75)
    assert second.steps_left == 8.5
    second.advance()
    assert second.position == (1, 50)
    assert (second.global_batch, second.steps_per_epoch) == (20, 5)


def test_what_is_due():
    now = progress()
    now.advance()
    now.advance()
    assert now.due("step", 2, after="step") and not now.due("step", 3, after="step")
    assert not now.due("epoch", 1, after="step") and not now.due("step", 1, after="epoch")
    now.next_epoch()
    assert now.due("epoch", 1, after="epoch") and not now.due("epoch", 2, after="epoch")
    now.next_epoch()
    now.next_epoch()
    assert now.finished and now.due("step", 10**6, after="epoch")
