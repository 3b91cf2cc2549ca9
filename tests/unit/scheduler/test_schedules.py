"""Schedules against worked numbers and formulas written down again."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plsc.errors import UserError
from plsc.scheduler.decay import Poly, Step, TimmCosine

MS1MV3 = {"learning_rate": 0.1, "epochs": 20, "steps_per_epoch": 5059}
FACE_VIT = {
    "learning_rate": 0.001,
    "warmup_epochs": 4,
    "warmup_end_lr": 0.001,
    "epochs": 40,
    "steps_per_epoch": 20740,
}


@pytest.mark.parametrize(
    ("step", "lr"),
    [(0, 0.1), (1, 0.09999802), (5059, 0.09025), (50590, 0.025), (101179, 9.77e-12), (101180, 0)],
)
def test_poly_without_warmup(step, lr):
    assert Poly(**MS1MV3)(step) == pytest.approx(lr, rel=1e-6, abs=1e-14)


@pytest.mark.parametrize(
    ("step", "lr"),
    [(0, 0), (1, 1.2054e-8), (41480, 5e-4), (82960, 1e-3), (414800, 3.08642e-4), (829600, 0)],
)
def test_poly_with_warmup(step, lr):
    assert Poly(**FACE_VIT)(step) == pytest.approx(lr, rel=1e-5, abs=1e-14)


def poly(t, total, warmup, base, start, end):
    if t < warmup:
        return start + (end - start) * t / warmup
    return base * (1 - (t - warmup) / (total - warmup)) ** 2


@given(
    st.integers(0, 400), st.integers(0, 150), st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1)
)
def test_poly_in_steps(step, warmup, base, start, end):
    schedule = Poly(
        learning_rate=base,
        warmup_steps=warmup,
        warmup_start_lr=start,
        warmup_end_lr=end,
        epochs=8,
        steps_per_epoch=50,
    )
    assert schedule(step) == pytest.approx(poly(step, 400, warmup, base, start, end), abs=1e-12)


@given(st.integers(0, 400), st.integers(0, 5))
def test_poly_in_epochs(step, warmup):
    """The rate changes when an epoch ends."""
    schedule = Poly(
        learning_rate=0.1,
        decay_unit="epoch",
        warmup_epochs=warmup,
        warmup_steps=77,  # of the other unit: no effect
        warmup_start_lr=0.01,
        warmup_end_lr=0.1,
        epochs=8,
        steps_per_epoch=50,
    )
    assert schedule(step) == pytest.approx(poly(step // 50, 8, warmup, 0.1, 0.01, 0.1), abs=1e-12)
    assert schedule(step - step % 50 + 49.5) == schedule(step)


def test_warmup_steps_come_before_warmup_epochs():
    times = {"epochs": 10, "steps_per_epoch": 20, "learning_rate": 1.0, "warmup_end_lr": 1.0}
    assert Poly(warmup_steps=10, warmup_epochs=3, **times)(5) == 0.5
    assert Poly(warmup_steps=0, warmup_epochs=3, **times)(30) == 0.5
    assert Poly(warmup_epochs=0.5, **times)(5) == 0.5


@given(st.floats(0, 400))
def test_a_position_between_two_steps(time):
    """After a resume with another global batch."""
    schedule = Poly(
        learning_rate=0.1, warmup_steps=40, warmup_end_lr=0.1, epochs=8, steps_per_epoch=50
    )
    assert schedule(time) == pytest.approx(poly(time, 400, 40, 0.1, 0.0, 0.1), abs=1e-12)


def cosine(done, base, least):
    return least + (base - least) * (1 + math.cos(math.pi * done)) / 2


@given(st.floats(0, 450), st.integers(0, 100), st.booleans(), st.floats(0, 0.05))
def test_timm_cosine(time, warmup, prefix, least):
    schedule = TimmCosine(
        learning_rate=0.1,
        eta_min=least,
        warmup_steps=warmup,
        warmup_start_lr=0.02,
        warmup_prefix=prefix,
        epochs=8,
        steps_per_epoch=50,
    )
    if time < warmup:
        expected = 0.02 + (0.1 - 0.02) * time / warmup
    elif prefix:
        expected = cosine(min((time - warmup) / (400 - warmup), 1), 0.1, least)
    else:
        expected = cosine(min(time / 400, 1), 0.1, least)
    assert schedule(time) == pytest.approx(expected, abs=1e-12)


def test_timm_cosine_at_its_corners():
    times = {"learning_rate": 0.1, "eta_min": 0.02, "epochs": 10, "steps_per_epoch": 10}
    plain = TimmCosine(**times)
    assert [plain(t) for t in (0, 50, 100)] == pytest.approx([0.1, 0.06, 0.02])
    hidden = TimmCosine(warmup_epoch=5, warmup_epochs=1, **times)  # warmup_epoch is the same key
    assert [hidden(t) for t in (0, 25, 50, 100)] == pytest.approx([0, 0.05, 0.06, 0.02])
    after = TimmCosine(warmup_epochs=5, warmup_prefix=True, warmup_end_lr=0.08, **times)
    assert [after(t) for t in (25, 50, 75, 100)] == pytest.approx([0.04, 0.1, 0.06, 0.02])
    epochs = TimmCosine(decay_unit="epoch", **times)
    assert epochs(59) == epochs(50) == pytest.approx(0.06)


def test_step():
    times = {"epochs": 10, "steps_per_epoch": 10}
    schedule = Step(boundaries=[30, 60.5], values=[0.3, 0.2, 0.1], **times)
    rates = [schedule(t) for t in (0, 29.9, 30, 60, 60.5, 61, 99)]
    assert rates == [0.3, 0.3, 0.2, 0.2, 0.1, 0.1, 0.1]
    epochs = Step(boundaries=[3], values=[0.3, 0.2], decay_unit="epoch", **times)
    assert [epochs(t) for t in (29, 30)] == [0.3, 0.2]
    warm = Step(boundaries=[3], values=[0.3, 0.2], warmup_steps=10, **times)
    assert [warm(t) for t in (0, 5, 10)] == pytest.approx([0, 0.15, 0.2])
    other = Step(boundaries=[30], values=[0.3, 0.2], warmup_steps=10, warmup_end_lr=0.1, **times)
    assert [other(t) for t in (5, 10)] == pytest.approx([0.05, 0.3])
    assert Step(boundaries=[], values=[0.3], **times)(50) == 0.3


@pytest.mark.parametrize(
    ("boundaries", "values"), [([3], [0.1]), ([3, 2], [0.3, 0.2, 0.1]), ([3], [0.3, 0.2, 0.1])]
)
def test_step_says_what_is_wrong(boundaries, values):
    with pytest.raises(UserError, match=r"LRScheduler\.values"):
        Step(boundaries=boundaries, values=values, epochs=1, steps_per_epoch=1)


@pytest.mark.parametrize("unit", ["step", "epoch"])
@pytest.mark.parametrize(
    ("builder", "options"),
    [
        (Poly, {"learning_rate": 0.1, "warmup_end_lr": 0.1}),
        (TimmCosine, {"learning_rate": 0.1, "warmup_prefix": True}),
        (Step, {"boundaries": [90_000], "values": [0.1, 0.01]}),
    ],
)
def test_warmup_ends_at_the_base_rate(builder, options, unit):
    schedule = builder(**options, decay_unit=unit, warmup_epochs=4, epochs=10, steps_per_epoch=1000)
    assert schedule(0) == 0.0
    assert schedule(4000) == pytest.approx(0.1)
    assert schedule(3999) == pytest.approx(0.1 * (0.75 if unit == "epoch" else 0.99975))
    rates = [schedule(step) for step in range(0, 4001, 7)]
    assert rates == sorted(rates)


@pytest.mark.parametrize("builder", [Poly, TimmCosine])
def test_beyond_the_end(builder):
    """Training that is all warm-up, or a position past the end, has a rate."""
    all_warmup = builder(learning_rate=0.1, warmup_steps=50, epochs=1, steps_per_epoch=50)
    assert 0.0 <= all_warmup(50) <= 0.1
    assert builder(learning_rate=0.1, epochs=1, steps_per_epoch=50)(60) == pytest.approx(0.0)
