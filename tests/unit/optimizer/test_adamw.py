"""AdamW on whole tensors and on sampled rows against the formula in numpy float64."""

from functools import partial

import numpy as np
import paddle
import pytest

from plsc.distributed.sharding import RowShard
from plsc.optimizer.adamw import AdamW
from plsc.recognition.heads.centres import ClassCentres

RATES = [0.3, 0.2, 0.0, 0.1, 0.05]
BETAS, EPS, DECAY = (0.8, 0.95), 1e-3, 0.1


class Reference:
    """Adam's moments and the decoupled decay, as in the paper, for any rows of the arrays."""

    def __init__(self, weight, decay=DECAY, eps=EPS):
        self.weight, self.decay, self.eps = weight.copy(), decay, eps
        self.first, self.second = np.zeros_like(weight), np.zeros_like(weight)

    def step(self, gradient, lr, t, rows=slice(None)):
        first = BETAS[0] * self.first[rows] + (1 - BETAS[0]) * gradient
        second = BETAS[1] * self.second[rows] + (1 - BETAS[1]) * gradient**2
        corrected = np.sqrt(second / (1 - BETAS[1] ** t)) + self.eps
        change = first / (1 - BETAS[0] ** t) / corrected + self.decay * self.weight[rows]
        self.weight[rows] = self.weight[rows] - lr * change
        self.first[rows], self.second[rows] = first, second


def problem():
    random = np.random.default_rng(0)
    return random.normal(0, 1, (4, 3)), [random.normal(0, 0.01, (4, 3)) for _ in RATES]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("decay", [True, False])
def test_dense(decay, dtype):
    start, gradients = problem()
    weight = paddle.to_tensor(start.astype(dtype))
    state = {name: paddle.zeros_like(weight) for name in AdamW.state_names}
    rule, reference = AdamW(BETAS, EPS, DECAY), Reference(start, DECAY if decay else 0.0)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for step, (lr, gradient) in enumerate(zip(RATES, gradients, strict=True), 1):
        given = paddle.to_tensor(gradient.astype(dtype))
        rule.update(weight, given, state, lr=lr, step=step, decay=decay)
        reference.step(gradient, lr, step)
        for found, wanted in (
            (weight, reference.weight),
            (state["moment1"], reference.first),
            (state["moment2"], reference.second),
        ):
            np.testing.assert_allclose(found.numpy(), wanted, rtol=tolerance, atol=1e-7 * tolerance)
        np.testing.assert_array_equal(given.numpy(), gradient.astype(dtype))


def test_equals_paddle():
    start, gradients = problem()
    theirs = paddle.to_tensor(start, stop_gradient=False)
    ours = paddle.to_tensor(start)
    state = {name: paddle.zeros_like(ours) for name in AdamW.state_names}
    optimizer = paddle.optimizer.AdamW(0.1, *BETAS, EPS, [theirs], weight_decay=DECAY)
    for step, gradient in enumerate(gradients, 1):
        (theirs * paddle.to_tensor(gradient)).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        rule = AdamW(BETAS, EPS, DECAY)
        rule.update(ours, paddle.to_tensor(gradient), state, lr=0.1, step=step)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


def test_default_values_are_the_published_ones():
    rule = AdamW()
    assert (rule.betas, rule.eps, rule.weight_decay) == ((0.9, 0.999), 1e-8, 0.01)


def test_sampled_rows_are_corrected_by_the_steps_of_training():
    """A row first sampled at step 5 is corrected as at step 5; the others stay as they are."""
    random = np.random.default_rng(1)
    start = random.normal(0, 1, (6, 3))
    centres = ClassCentres.of(RowShard(6), start, state_names=AdamW.state_names)
    rule, reference = AdamW(BETAS, EPS, DECAY), Reference(start)
    samples = [[0, 2, 5], [1, 2], [0, 1, 2], [5], [0, 3, 5]]
    for step, (lr, sample) in enumerate(zip(RATES, samples, strict=True), 1):
        before = {name: centres.read(name).copy() for name in centres.names}
        gradient = random.normal(0, 0.01, (len(sample), 3))
        rows = centres.take(np.array(sample))
        rows.gradient.assign(paddle.to_tensor(gradient))
        centres.update(rows, partial(rule.update, lr=lr, step=step))
        reference.step(gradient, lr, step, sample)
        np.testing.assert_allclose(centres.read("weight"), reference.weight, rtol=1e-12)
        np.testing.assert_allclose(centres.read("moment1"), reference.first, rtol=1e-12)
        np.testing.assert_allclose(centres.read("moment2"), reference.second, rtol=1e-12)
        others = np.setdiff1d(np.arange(6), sample)
        for name in centres.names:
            assert centres.read(name)[others].tobytes() == before[name][others].tobytes()
