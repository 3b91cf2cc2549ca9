"""Momentum and AdamW, whole tensors and sampled rows, against formulas in numpy float64."""

from functools import partial

import numpy as np
import paddle
import pytest

from plsc.distributed.sharding import RowShard
from plsc.optimizer.adamw import AdamW
from plsc.optimizer.momentum import Momentum
from plsc.recognition.heads.centres import ClassCentres

RATES = [0.3, 0.2, 0.0, 0.1, 0.05]
BETAS, EPS, DECAY = (0.8, 0.95), 1e-3, 0.1


class MomentumByHand:
    """PLSC's momentum: L2 decay, no dampening; for any rows of the arrays."""

    def __init__(self, weight, *, mu=0.9, decay=0.05):
        self.arrays = {"weight": weight.copy(), "velocity": np.zeros_like(weight)}
        self.mu, self.decay = mu, decay

    def step(self, gradient, lr, t, rows=slice(None)):
        weight, velocity = self.arrays["weight"], self.arrays["velocity"]
        velocity[rows] = self.mu * velocity[rows] + (gradient + self.decay * weight[rows])
        weight[rows] -= lr * velocity[rows]


class AdamWByHand:
    """Adam's moments and the decoupled decay, as in the paper, for any rows of the arrays."""

    def __init__(self, weight, *, decay=DECAY):
        self.arrays = {"weight": weight.copy()}
        self.arrays |= {name: np.zeros_like(weight) for name in ("moment1", "moment2")}
        self.decay = decay

    def step(self, gradient, lr, t, rows=slice(None)):
        weight, m, v = self.arrays.values()
        m[rows] = BETAS[0] * m[rows] + (1 - BETAS[0]) * gradient
        v[rows] = BETAS[1] * v[rows] + (1 - BETAS[1]) * gradient**2
        corrected = np.sqrt(v[rows] / (1 - BETAS[1] ** t)) + EPS
        change = m[rows] / (1 - BETAS[0] ** t) / corrected + self.decay * weight[rows]
        weight[rows] -= lr * change


def adamw():
    return AdamW(BETAS, EPS, DECAY)


def problem(scale=1.0):
    random = np.random.default_rng(0)
    return random.normal(0, 1, (4, 3)), [random.normal(0, scale, (4, 3)) for _ in RATES]


DENSE = [
    *((Momentum(mu, decay), partial(MomentumByHand, mu=mu, decay=decay), True)
      for mu in (0.0, 0.9) for decay in (0.0, 0.05)),
    (Momentum(0.9, 0.05), partial(MomentumByHand, decay=0.0), False),
    (adamw(), AdamWByHand, True),
    (adamw(), partial(AdamWByHand, decay=0.0), False),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize(("rule", "by_hand", "decay"), DENSE)
def test_dense(rule, by_hand, decay, dtype, tolerance):
    near_zero = 1e-7 if isinstance(rule, AdamW) else 1.0  # moments are small
    start, gradients = problem(0.01 if isinstance(rule, AdamW) else 1.0)
    tensors = {"weight": paddle.to_tensor(start.astype(dtype))}
    tensors |= {name: paddle.zeros_like(tensors["weight"]) for name in rule.state_names}
    weight, reference = tensors["weight"], by_hand(start)
    for step, (lr, gradient) in enumerate(zip(RATES, gradients, strict=True), 1):
        given = paddle.to_tensor(gradient.astype(dtype))
        rule.update(weight, given, tensors, lr=lr, step=step, decay=decay)
        reference.step(gradient, lr, step)
        bounds = {"rtol": tolerance, "atol": near_zero * tolerance}
        for name, wanted in reference.arrays.items():
            np.testing.assert_allclose(tensors[name].numpy(), wanted, err_msg=name, **bounds)
        np.testing.assert_array_equal(given.numpy(), gradient.astype(dtype))  # not edited


@pytest.mark.parametrize(
    ("rule", "scale", "build"),
    [
        (Momentum(0.9, 0.05), 1.0, partial(paddle.optimizer.Momentum, 0.1, 0.9, weight_decay=0.05)),
        (adamw(), 0.01, partial(paddle.optimizer.AdamW, 0.1, *BETAS, EPS, weight_decay=DECAY)),
    ],
)
def test_equals_paddle(rule, scale, build):
    start, gradients = problem(scale)
    theirs, ours = paddle.to_tensor(start, stop_gradient=False), paddle.to_tensor(start)
    state = {name: paddle.zeros_like(ours) for name in rule.state_names}
    optimizer = build(parameters=[theirs])
    for step, gradient in enumerate(gradients, 1):
        (theirs * paddle.to_tensor(gradient)).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        rule.update(ours, paddle.to_tensor(gradient), state, lr=0.1, step=step)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)  # its lr is float32


def test_default_values_are_the_published_ones():
    rule = AdamW()
    assert (rule.betas, rule.eps, rule.weight_decay) == ((0.9, 0.999), 1e-8, 0.01)


@pytest.mark.parametrize(
    ("rule", "by_hand", "scale", "samples"),
    [
        (Momentum(0.9, 0.05), MomentumByHand, 1.0, [[0, 2, 5], [1, 2], [0, 1, 2, 3], [5], [0, 5]]),
        (adamw(), AdamWByHand, 0.01, [[0, 2, 5], [1, 2], [0, 1, 2], [5], [0, 3, 5]]),
    ],
)
def test_sampled_rows_move_and_others_keep_every_bit(rule, by_hand, scale, samples):
    """A row first sampled at step 5 is corrected as at step 5 of training."""
    random = np.random.default_rng(1)
    start = random.normal(0, 1, (6, 3))
    centres = ClassCentres.of(RowShard(6), start, state_names=rule.state_names)
    reference = by_hand(start)
    for step, (lr, sample) in enumerate(zip(RATES, samples, strict=True), 1):
        before = {name: centres.read(name).copy() for name in centres.names}
        gradient = random.normal(0, scale, (len(sample), 3))
        rows = centres.take(np.array(sample))
        rows.gradient.assign(paddle.to_tensor(gradient))
        centres.update(rows, partial(rule.update, lr=lr, step=step))
        reference.step(gradient, lr, step, sample)
        others = np.setdiff1d(np.arange(6), sample)
        for name in centres.names:
            np.testing.assert_allclose(centres.read(name), reference.arrays[name], rtol=1e-12)
            assert centres.read(name)[others].tobytes() == before[name][others].tobytes()
