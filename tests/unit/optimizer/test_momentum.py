"""Momentum on whole tensors and on sampled rows against the formula in numpy float64."""

from functools import partial

import numpy as np
import paddle
import pytest

from plsc.distributed.sharding import RowShard
from plsc.optimizer.momentum import Momentum
from plsc.recognition.heads.centres import ClassCentres

RATES = [0.3, 0.2, 0.0, 0.1, 0.05]


def expected(weight, gradients, *, mu, decay):
    """Weight and velocity after every step."""
    velocity, trail = np.zeros_like(weight), []
    for lr, gradient in zip(RATES, gradients, strict=True):
        velocity = mu * velocity + (gradient + decay * weight)
        weight = weight - lr * velocity
        trail.append((weight, velocity))
    return trail


def problem(shape=(4, 3)):
    random = np.random.default_rng(0)
    return random.normal(0, 1, shape), [random.normal(0, 1, shape) for _ in RATES]


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("mu", [0.0, 0.9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dense(mu, decay, dtype):
    start, gradients = problem()
    weight = paddle.to_tensor(start.astype(dtype))
    state = {"velocity": paddle.zeros_like(weight)}
    rule = Momentum(momentum=mu, weight_decay=decay)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    trail = expected(start, gradients, mu=mu, decay=decay)
    for step, (lr, gradient, wanted) in enumerate(zip(RATES, gradients, trail, strict=True), 1):
        given = paddle.to_tensor(gradient.astype(dtype))
        rule.update(weight, given, state, lr=lr, step=step)
        np.testing.assert_allclose(weight.numpy(), wanted[0], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(
            state["velocity"].numpy(), wanted[1], rtol=tolerance, atol=tolerance
        )
        np.testing.assert_array_equal(given.numpy(), gradient.astype(dtype))  # not edited


def test_equals_paddle():
    start, gradients = problem()
    theirs = paddle.to_tensor(start, stop_gradient=False)
    ours, state = paddle.to_tensor(start), {"velocity": paddle.zeros([4, 3], "float64")}
    optimizer = paddle.optimizer.Momentum(0.1, 0.9, [theirs], weight_decay=0.05)
    for step, gradient in enumerate(gradients, 1):
        (theirs * paddle.to_tensor(gradient)).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        Momentum(0.9, 0.05).update(ours, paddle.to_tensor(gradient), state, lr=0.1, step=step)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)  # its lr is float32


def test_decay_can_be_left_out():
    start, gradients = problem()
    weight = paddle.to_tensor(start)
    state = {"velocity": paddle.zeros_like(weight)}
    trail = expected(start, gradients, mu=0.9, decay=0.0)
    for step, (lr, gradient) in enumerate(zip(RATES, gradients, strict=True), 1):
        rule = Momentum(momentum=0.9, weight_decay=0.05)
        rule.update(weight, paddle.to_tensor(gradient), state, lr=lr, step=step, decay=False)
    np.testing.assert_allclose(weight.numpy(), trail[-1][0], rtol=1e-12)


def test_sampled_rows_move_and_others_do_not():
    """Rows sampled at some steps: the others keep weight and momentum to the last bit."""
    random = np.random.default_rng(1)
    start = random.normal(0, 1, (6, 3))
    centres = ClassCentres.of(RowShard(6), start, state_names=Momentum.state_names)
    rule, weight, velocity = Momentum(0.9, 0.05), start.copy(), np.zeros_like(start)
    samples = [[0, 2, 5], [1, 2], [0, 1, 2, 3], [5], [0, 5]]
    for step, (lr, sample) in enumerate(zip(RATES, samples, strict=True), 1):
        before = {name: centres.read(name).copy() for name in centres.names}
        gradient = random.normal(0, 1, (len(sample), 3))
        rows = centres.take(np.array(sample))
        rows.gradient.assign(paddle.to_tensor(gradient))
        centres.update(rows, partial(rule.update, lr=lr, step=step))
        velocity[sample] = 0.9 * velocity[sample] + gradient + 0.05 * weight[sample]
        weight[sample] -= lr * velocity[sample]
        np.testing.assert_allclose(centres.read("weight"), weight, rtol=1e-12)
        np.testing.assert_allclose(centres.read("velocity"), velocity, rtol=1e-12)
        others = np.setdiff1d(np.arange(6), sample)
        for name in centres.names:
            assert centres.read(name)[others].tobytes() == before[name][others].tobytes()
