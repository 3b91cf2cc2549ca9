"""Norms and update rules on the memory of Paddle tensors, without copies or temporaries.

Each works where all tensors are float32, contiguous and on the CPU, and numba is installed; else it
changes nothing and says so, and the caller takes Paddle's operations.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor

from plsc.nn.kernels.compiled import compiled, share, wanted

BLOCK = 16_384  # elements that are added up by themselves, whatever the number of threads
SERIAL = 1 << 18  # elements: below, threads take longer to start than they save


def squared_norm(tensor: Tensor) -> float | None:
    """Sum of squares, added up in float64; None if this is no tensor for it."""
    flat = _flat(tensor)
    if flat is None:
        return None
    (values,) = flat
    sums = np.empty(-(-values.size // BLOCK))
    _run(_squares, sums.size, values.size, values, sums)
    return float(sums.sum())


def momentum(
    weight: Tensor,
    gradient: Tensor,
    velocity: Tensor,
    *,
    factor: float,
    mu: float,
    decay: float,
    lr: float,
) -> bool:
    """v ← μ·v + factor·g + decay·p;  p ← p − lr·v; whether it did."""
    flat = _flat(weight, gradient, velocity)
    if flat is None:
        return False
    _run(_momentum, flat[0].size, flat[0].size, *flat, *map(np.float32, (factor, mu, decay, lr)))
    return True


def adamw(
    weight: Tensor,
    gradient: Tensor,
    moment1: Tensor,
    moment2: Tensor,
    *,
    factor: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
    lr: float,
    step: int,
) -> bool:
    """`plsc.optimizer.adamw.AdamW` with gradient factor·g; `decay` of p; whether it did."""
    flat = _flat(weight, gradient, moment1, moment2)
    if flat is None:
        return False
    beta1, beta2 = betas
    numbers = (factor, 1 - lr * decay, beta1, 1 - beta1, beta2, 1 - beta2, eps)
    corrections = (1 - beta2**step, lr / (1 - beta1**step))
    size = flat[0].size
    _run(_adamw, size, size, *flat, *map(np.float32, numbers + corrections))
    return True


def _flat(*tensors: Tensor) -> list[NDArray[Any]] | None:
    """Their memory as flat arrays, if all are of the right kind."""
    if not wanted():
        return None
    for tensor in tensors:
        if (
            tensor.dtype != paddle.float32
            or not tensor.place.is_cpu_place()
            or not tensor.is_contiguous()
        ):
            return None
    return [np.from_dlpack(tensor.detach()).reshape(-1) for tensor in tensors]


def _run(kernel: Callable[..., None], count: int, elements: int, *arguments: Any) -> None:
    if elements < SERIAL:
        kernel(0, count, *arguments)
    else:
        share(kernel, count, *arguments)


@compiled
def _squares(start, stop, values, sums):
    for block in range(start, stop):
        part, total = values[block * BLOCK : (block + 1) * BLOCK], 0.0
        for i in range(part.size):
            value = np.float64(part[i])
            total += value * value
        sums[block] = total


@compiled
def _momentum(start, stop, weight, gradient, velocity, factor, mu, decay, lr):
    weight, gradient, velocity = weight[start:stop], gradient[start:stop], velocity[start:stop]
    for i in range(weight.size):  # from 0: indices that might be negative keep loops from vectors
        moved = velocity[i] * mu + gradient[i] * factor + weight[i] * decay
        velocity[i] = moved
        weight[i] -= moved * lr


@compiled
def _adamw(
    start, stop, weight, gradient, moment1, moment2,
    factor, keep, beta1, rest1, beta2, rest2, eps, root, rate,
):  # fmt: skip
    weight, gradient = weight[start:stop], gradient[start:stop]
    moment1, moment2 = moment1[start:stop], moment2[start:stop]
    for i in range(weight.size):
        g = gradient[i] * factor
        first = moment1[i] * beta1 + g * rest1
        second = moment2[i] * beta2 + g * g * rest2
        moment1[i] = first
        moment2[i] = second
        weight[i] = weight[i] * keep - first / (np.sqrt(second / root) + eps) * rate
