"""Compiling loops with numba, and sharing their work among threads."""

import functools
import importlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

SUMS = {"reassoc", "contract"}  # what lets sums use vector registers; NaN and infinity stay


@functools.cache
def available() -> bool:
    """Tell whether numba is installed, and for this version of numpy."""
    try:
        importlib.import_module("numba")
    except ImportError:
        return False
    return True


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether kernels are to take the place of Paddle's: not where PLSC_STOCK_CPU is 1."""
    return environment.get("PLSC_STOCK_CPU") != "1" and available()


def machine_code(function: Callable[..., None]) -> Callable[..., None]:
    """Have numba compile `function` at its first call, to run without Python's lock.

    What is compiled is kept on disk for later processes, where a folder for that can be written.
    """
    import numba

    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": SUMS}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written
        return numba.njit(**options)(function)


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Do as `machine_code`, but import numba at the first call; compiled code cannot call it."""
    code = functools.cache(lambda: machine_code(function))

    @functools.wraps(function)
    def call(*arguments: Any) -> None:
        code()(*arguments)

    return call


def share(kernel: Callable[..., None], count: int, *arguments: Any) -> None:
    """Run `kernel(start, stop, *arguments)` over parts of range(count), one part for a thread.

    The kernel must write to other places for other items, so that the result depends neither on
    the number of threads nor on their order.
    """
    parts = min(threads(), count)
    if parts <= 1:
        kernel(0, count, *arguments)
        return
    bounds = [count * part // parts for part in range(parts + 1)]
    pool = _pool(os.getpid(), parts - 1)
    others = [
        pool.submit(kernel, start, stop, *arguments)
        for start, stop in zip(bounds[1:], bounds[2:], strict=False)
    ]
    try:
        kernel(0, bounds[1], *arguments)
    finally:
        for other in others:
            other.result()


def threads() -> int:
    """Return this process's number of threads: OMP_NUM_THREADS (see plsc.nn.environment), or 1."""
    text = os.environ.get("OMP_NUM_THREADS", "1").split(",")[0]
    return max(1, int(text)) if text.isdecimal() else 1


@functools.cache
def _pool(process: int, size: int) -> ThreadPoolExecutor:
    """Return threads of this process; a forked one has none of its parent's, hence `process`."""
    return ThreadPoolExecutor(size, thread_name_prefix=f"kernels-{process}")
