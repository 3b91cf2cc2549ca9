"""Compiled norms and update rules against numpy in float64, and against Paddle's operations."""

import numpy as np
import paddle
import pytest

from plsc.optimizer import kernels as update
from plsc.optimizer.adamw import AdamW
from plsc.optimizer.momentum import Momentum

pytest.importorskip("numba")
SIZES = [1, 7, 16_384, update.SERIAL - 1, update.SERIAL + 5]  # the last by several threads


def tensors(count: int, *shape: int, dtype: str = "float32") -> list[paddle.Tensor]:
    random = np.random.default_rng(0)
    return [paddle.to_tensor(random.uniform(0.5, 1.5, shape).astype(dtype)) for _ in range(count)]


def exact(values: list[paddle.Tensor]) -> list[np.ndarray]:
    return [value.numpy().astype(np.float64) for value in values]


def assert_all_close(found, wanted, rtol=2e-6):
    for tensor, array in zip(found, wanted, strict=True):
        np.testing.assert_allclose(tensor.numpy(), array, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_squared_norm(size):
    (values,) = tensors(1, size)
    wanted = np.square(values.numpy(), dtype=np.float64).sum()
    assert update.squared_norm(values) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_squared_norm_shows_what_is_not_finite(size, value):
    (values,) = tensors(1, size)
    values[size - 2] = value
    assert not np.isfinite(update.squared_norm(values))


@pytest.mark.parametrize("size", SIZES)
def test_momentum(size):
    weight, gradient, velocity = given = tensors(3, size)
    p, g, v = exact(given)
    assert update.momentum(weight, gradient, velocity, factor=-0.25, mu=0.9, decay=0.5, lr=0.125)
    moved = 0.9 * v - 0.25 * g + 0.5 * p
    assert_all_close(given, [p - 0.125 * moved, g, moved])


@pytest.mark.parametrize("size", SIZES)
def test_adamw(size):
    weight, gradient, moment1, moment2 = given = tensors(4, size)
    p, g, m, v = exact(given)
    numbers = {"betas": (0.8, 0.95), "eps": 0.25, "decay": 0.5, "lr": 0.125, "step": 3}
    assert update.adamw(weight, gradient, moment1, moment2, factor=-0.25, **numbers)
    first, second = 0.8 * m - 0.2 * 0.25 * g, 0.95 * v + 0.05 * (0.25 * g) ** 2
    change = first / (1 - 0.8**3) / (np.sqrt(second / (1 - 0.95**3)) + 0.25) + 0.5 * p
    assert_all_close(given, [p - 0.125 * change, g, first, second])


def test_no_bit_depends_on_the_number_of_threads(monkeypatch):
    def run(threads: int) -> list[bytes]:
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        given = tensors(4, update.SERIAL + 5)
        norm = update.squared_norm(given[1])
        update.momentum(*given[:3], factor=0.3, mu=0.9, decay=0.1, lr=0.1)
        numbers = {"betas": (0.8, 0.95), "eps": 0.25, "decay": 0.5, "lr": 0.125, "step": 3}
        update.adamw(*given, factor=0.3, **numbers)
        return [np.float64(norm).tobytes(), *(tensor.numpy().tobytes() for tensor in given)]

    assert run(1) == run(2) == run(3)


def test_a_slice_of_rows_changes_in_place_and_nothing_else_does():
    whole, gradient, velocity = tensors(3, 6, 4)
    before = whole.numpy()
    assert update.momentum(
        whole[2:4], gradient[2:4], velocity[2:4], factor=1.0, mu=0.0, decay=0.0, lr=1.0
    )
    before[2:4] -= gradient.numpy()[2:4]
    np.testing.assert_array_equal(whole.numpy(), before)


@pytest.mark.parametrize("case", ["float64", "strided", "one of float64", "without numba"])
def test_what_it_cannot_do_it_leaves_alone(case, monkeypatch):
    weight, gradient, velocity = tensors(
        3, 4, 4, dtype="float64" if case == "float64" else "float32"
    )
    if case == "strided":
        weight, gradient, velocity = weight[:, :2], gradient[:, :2], velocity[:, :2]
    if case == "one of float64":
        velocity = velocity.astype("float64")
    if case == "without numba":
        monkeypatch.setattr(update, "wanted", lambda: False)
    given = [weight, gradient, velocity]
    before = [tensor.numpy().copy() for tensor in given]
    assert not update.momentum(*given, factor=1.0, mu=0.9, decay=0.1, lr=0.1)
    numbers = {"betas": (0.9, 0.999), "eps": 1e-8, "decay": 0.1, "lr": 0.1, "step": 1}
    assert not update.adamw(*given, velocity, factor=1.0, **numbers)
    assert update.squared_norm(velocity) is None
    for tensor, array in zip(given, before, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), array)


@pytest.mark.parametrize("factor", [1.0, 0.3])
@pytest.mark.parametrize("decay", [True, False])
@pytest.mark.parametrize(
    "rule",
    [Momentum(0.9, 0.1), AdamW((0.8, 0.95), 1e-3, 0.1)],
    ids=lambda rule: type(rule).__name__,
)
def test_rules_are_the_same_by_paddles_operations(rule, decay, factor, monkeypatch):
    results = []
    for compiled in (True, False):
        monkeypatch.setattr(update, "wanted", lambda compiled=compiled: compiled)
        weight, gradient, *states = tensors(2 + len(rule.state_names), 64, 8)
        state = dict(zip(rule.state_names, states, strict=True))
        start, given = weight.numpy().copy(), gradient.numpy().copy()
        for step in (1, 2, 3):
            rule.update(weight, gradient, state, lr=0.1, step=step, decay=decay, factor=factor)
        np.testing.assert_array_equal(gradient.numpy(), given)
        assert (weight.numpy() != start).all()
        results.append([weight, *states])
    assert_all_close(results[0], exact(results[1]))
