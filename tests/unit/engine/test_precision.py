"""The loss scale as a state machine, and which precision is in effect."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plsc.engine.precision import LossScaler, Precision


def scales(scaler, outcomes):
    """Scale after each step; x is an overflow."""
    found = []
    for outcome in outcomes:
        scaler.update(outcome == "x")
        found.append(scaler.scale)
    return found


def test_two_overflows_in_a_row_halve():
    assert scales(LossScaler(scale=64.0), "x.xx.xxxx") == [64, 64, 64, 32, 32, 32, 16, 16, 8]


def test_good_steps_in_a_row_double():
    scaler = LossScaler(scale=64.0, incr_every_n_steps=3, max_loss_scaling=200.0)
    assert scales(scaler, "..x............") == [64] * 5 + [128] * 3 + [200] * 7


def test_the_values_of_the_published_configs():
    scaler = LossScaler()
    assert scaler.scale == 27648.0
    assert scales(scaler, "." * 1000)[998:] == [27648.0, 55296.0]
    assert scales(scaler, "xx") == [55296.0, 27648.0]
    assert scaler.max_loss_scaling == 2.0**32


def test_other_ratios():
    scaler = LossScaler(
        scale=100.0,
        incr_ratio=3.0,
        decr_ratio=0.1,
        incr_every_n_steps=1,
        decr_every_n_nan_or_inf=1,
    )
    assert scales(scaler, ".x") == pytest.approx([300, 30])


def test_never_below_one():
    scaler = LossScaler(scale=3.0, decr_every_n_nan_or_inf=1)
    assert scales(scaler, "xxx") == [1.5, 1, 1]


@pytest.mark.parametrize("options", [{"enabled": False}, {"dynamic": False}])
def test_a_fixed_scale(options):
    scaler = LossScaler(scale=8.0, incr_every_n_steps=1, **options)
    assert set(scales(scaler, "..xxxx..")) == {8.0 if scaler.enabled else 1.0}


@given(st.text("x.", max_size=30), st.text("x.", max_size=30))
def test_goes_on_where_it_was_saved(before, after):
    options = {"scale": 64.0, "incr_every_n_steps": 4}
    straight, first, second = (LossScaler(**options) for _ in range(3))
    scales(straight, before)
    scales(first, before)
    second.restore(first.state())
    assert second.scale == straight.scale
    assert scales(straight, after) == scales(second, after)


def test_a_run_without_scaling_and_one_with_it_do_not_mix():
    off = LossScaler(enabled=False)
    off.restore(LossScaler(scale=64.0).state())
    assert off.scale == 1.0
    on = LossScaler(scale=64.0)
    on.restore(LossScaler(enabled=False).state())
    on.restore({})
    assert on.scale == 64.0


@pytest.mark.parametrize(
    ("level", "dtype", "device", "scale", "effective"),
    [
        ("O0", "float16", "cpu", 1.0, "float32"),
        ("O1", "float16", "cpu", 1.0, "float32 (O1 has no effect on CPU)"),
        ("O0", "float16", "gpu", 1.0, "float32"),
        ("O1", "float16", "gpu", 256.0, "float16 (O1), head float32"),
        ("O1", "bfloat16", "gpu", 1.0, "bfloat16 (O1), head float32"),
    ],
)
def test_precision_in_effect(level, dtype, device, scale, effective):
    """Only float16's range needs a loss scale."""
    precision = Precision(level=level, dtype=dtype, device=device, scaler=LossScaler(scale=256.0))
    assert precision.scaler.scale == scale
    assert precision.scaler.enabled is (scale > 1)
    assert precision.effective == effective
    plain = isinstance(precision.autocast(), contextlib.nullcontext)
    assert plain is effective.startswith("float32")
