"""Process environment that must be set before paddle is imported: threads and the CPU's maths.

Stock Paddle on an AMD CPU takes MKL's slowest path, and the launcher gives every worker one
thread; together they cost a factor of three on two cores.
"""

import contextlib
import importlib
import io
import os
import platform
import sys
import warnings
from collections.abc import MutableMapping

from plsc.errors import UserError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads(*, local_size: int, environment: MutableMapping[str, str] = os.environ) -> int:
    """Threads for one of `local_size` processes on this machine; PLSC_NUM_THREADS overrides."""
    text = environment.get("PLSC_NUM_THREADS", "")
    return int(text) if text.isdecimal() and int(text) else max(1, cores() // local_size)


def is_amd() -> bool:
    """Whether this is an AMD processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return any("AuthenticAMD" in line for line in file)
    except OSError:
        return "AMD" in platform.processor()


def prepare(
    *, local_size: int, environment: MutableMapping[str, str] = os.environ
) -> dict[str, str]:
    """Set threads and MKL's path for one of `local_size` processes on this machine.

    PLSC_NUM_THREADS overrides the number of threads; PLSC_STOCK_CPU=1 leaves everything as it is,
    for comparison.

    Returns:
        What is in effect, by variable; kept in checkpoints, because another number of threads or
        another path changes the last bits of a training run.

    """
    if environment.get("PLSC_STOCK_CPU") != "1":
        for name in THREAD_VARIABLES:
            environment[name] = str(threads(local_size=local_size, environment=environment))
        if is_amd():
            environment["MKL_DEBUG_CPU_TYPE"] = "5"
    environment.setdefault("GLOG_minloglevel", "2")
    return in_effect(environment)


def import_paddle() -> None:
    """Import paddle without its remarks that ccache is missing and OMP_NUM_THREADS is not 1.

    Raises:
        UserError: it is not installed.

    """
    # BatchNorm in training mode says in every process that it tracks running statistics.
    warnings.filterwarnings("ignore", message="When training, we now always track")
    said = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(said):
            warnings.filterwarnings("ignore", message="No ccache found")
            importlib.import_module("paddle")
    except ImportError as error:
        raise UserError(
            f"paddle cannot be imported ({error}): pip install 'paddlepaddle>=3.3,<4', or the GPU "
            "build as https://www.paddlepaddle.org.cn/en/install/quick says"
        ) from error
    lines = [line for line in said.getvalue().splitlines() if "OMP_NUM_THREADS" not in line]
    if lines:
        print("\n".join(lines), file=sys.stderr)


def in_effect(environment: MutableMapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of this module as they are set."""
    names = (*THREAD_VARIABLES, "MKL_DEBUG_CPU_TYPE")
    return {name: environment[name] for name in names if name in environment}


def describe() -> str:
    """Threads and CPU path in a few words."""
    set_here = in_effect()
    threads = set_here.get("OMP_NUM_THREADS", "default")
    path = ", MKL path for AMD" if "MKL_DEBUG_CPU_TYPE" in set_here else ""
    return f"{threads} thread(s) each{path}"
