"""What clipping multiplies by, and whom it leaves alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plsc.optimizer.clip import ClipGradByGlobalNorm, ClipGradByNorm, clips, named

HEAD, OTHER_NAME = "head.weight", "partialfc@dist@rank"

norms = st.floats(0, 1e6)
limits = st.floats(1e-3, 1e3)


@given(norms, limits)
def test_only_scales_down(norm, limit):
    factor = ClipGradByGlobalNorm(limit).factor(norm)
    expected = limit / (norm + 1e-6) if norm > limit else 1.0
    assert factor == pytest.approx(expected, rel=1e-12)


@given(norms, limits)
def test_always_clip_scales_up_too(norm, limit):
    factor = ClipGradByGlobalNorm(limit, always_clip=True).factor(norm)
    assert factor == pytest.approx(limit / (norm + 1e-6), rel=1e-12)


@given(norms, limits, st.booleans())
def test_the_factor_has_a_cap(norm, limit, always_clip):
    capped = ClipGradByGlobalNorm(limit, clip_norm_max=0.5, always_clip=always_clip)
    free = ClipGradByGlobalNorm(limit, always_clip=always_clip)
    clipping = always_clip or norm > limit
    assert capped.factor(norm) == (min(free.factor(norm), 0.5) if clipping else 1.0)


@given(norms, limits)
def test_a_tensors_own_norm_is_at_most_the_limit(norm, limit):
    found = norm * ClipGradByNorm(limit).factor(norm)
    assert found == pytest.approx(min(norm, limit), rel=1e-12)


def test_at_the_limit_and_at_zero():
    assert ClipGradByGlobalNorm(5.0).factor(5.0) == 1.0
    assert ClipGradByGlobalNorm(5.0, always_clip=True).factor(0.0) == pytest.approx(5e6)
    assert ClipGradByGlobalNorm(5.0, always_clip=True, clip_norm_max=1.0).factor(0.0) == 1.0
    assert ClipGradByGlobalNorm(1e-6).factor(3e-6) == pytest.approx(0.25)  # the 1e-6 below


@pytest.mark.parametrize(
    ("parts", "name", "clipped"),
    [
        ((), HEAD, True),
        (("dist",), HEAD, False),
        (("partialfc",), HEAD, False),
        (("head.weight",), HEAD, False),
        (("head",), HEAD, False),
        (("dist",), "conv1.weight", True),
        (("bn", "dist"), "layer1.0.bn1.weight", False),
        (("bn",), "conv1.weight", True),
        (("bn",), HEAD, True),
        (("conv1",), "layer1.0.conv1.weight", False),
    ],
)
def test_no_clip_list(parts, name, clipped):
    names = (HEAD, OTHER_NAME) if name == HEAD else (name,)
    assert clips(ClipGradByGlobalNorm(1.0, no_clip_list=parts), *names) is clipped
    assert named(names, parts) is not clipped
