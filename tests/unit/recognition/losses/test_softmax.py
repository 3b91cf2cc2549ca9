"""Cross entropy in a world of one; tests/distributed holds it equal in worlds of more."""

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from plsc.recognition.losses.softmax import cross_entropy


def expected(logits, target):
    """Mean loss and its gradient, float64."""
    logits = logits.astype("float64")
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True)
    rows = np.arange(len(target))
    loss = (np.log(total[:, 0]) - shifted[rows, target]).mean()
    gradient = np.exp(shifted) / total
    gradient[rows, target] -= 1
    return loss, gradient / len(target)


def found(logits, target):
    leaf = paddle.to_tensor(logits, stop_gradient=False)
    loss = cross_entropy(leaf, paddle.to_tensor(target))
    loss.backward()
    assert loss.shape == []
    return loss.item(), leaf.grad.numpy()


@st.composite
def problems(draw):
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    logits = arrays(np.float64, (rows, columns), elements=st.floats(-100, 100))
    return draw(logits), draw(arrays(np.int64, rows, elements=st.integers(0, columns - 1)))


@settings(max_examples=60, deadline=None)
@given(problems())
def test_loss_and_gradient(problem):
    loss, gradient = expected(*problem)
    found_loss, found_gradient = found(*problem)
    assert found_loss == pytest.approx(loss, rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(found_gradient, gradient, atol=1e-12)


def test_equals_paddle():
    random = np.random.default_rng(0)
    logits, target = random.normal(0, 5, (16, 40)).astype("float32"), random.integers(0, 40, 16)
    leaf = paddle.to_tensor(logits, stop_gradient=False)
    loss = paddle.nn.functional.cross_entropy(leaf, paddle.to_tensor(target))
    loss.backward()
    found_loss, found_gradient = found(logits, target)
    assert found_loss == pytest.approx(loss.item(), rel=1e-6)
    np.testing.assert_allclose(found_gradient, leaf.grad.numpy(), atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("level", [1e4, -1e4, 1e30])
def test_large_logits(level, dtype):
    """exp of them overflows, or underflows to a sum of zero, unless the largest is taken off."""
    logits = np.array([[level, level - abs(level), level], [0, level, -level]], dtype)
    target = np.array([0, 1])
    loss, gradient = expected(logits, target)
    found_loss, found_gradient = found(logits, target)
    assert found_loss == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(found_gradient, gradient, atol=1e-7)


@pytest.mark.parametrize("reuse", [False, True])
def test_logits_stay_as_they_are_unless_their_memory_may_be_reused(reuse):
    random = np.random.default_rng(0)
    logits, target = random.normal(0, 5, (3, 7)), np.array([2, 0, 6])
    leaf = paddle.to_tensor(logits, stop_gradient=False)
    inner = leaf * 1.0
    loss = cross_entropy(inner, paddle.to_tensor(target), reuse=reuse)
    assert np.array_equal(inner.numpy(), logits) != reuse
    loss.backward()
    expected_loss, gradient = expected(logits, target)
    assert loss.item() == pytest.approx(expected_loss, rel=1e-12)
    np.testing.assert_allclose(leaf.grad.numpy(), gradient, atol=1e-12)
