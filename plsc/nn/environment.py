"""Process environment that must be set before paddle is imported: threads and the CPU's maths.

Stock Paddle on an AMD CPU takes MKL's slowest path, and the launcher gives every worker one
thread; together they cost a factor of three on two cores. Fresh memory from the system for every
large tensor costs as much as what is done with it.
"""

import contextlib
import ctypes
import importlib
import io
import os
import platform
import sys
import warnings
from collections.abc import MutableMapping
from pathlib import Path

from plsc.errors import UserError
from plsc.nn.kernels.compiled import wanted

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
# MKL's names for instruction sets; it looks for them on Intel's processors only.
AVX2_PATH, AVX512_PATH = "5", "9"
AVX512_FLAGS = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni"}
# mallopt's parameters in glibc's malloc.h, and the values that leave memory with the process
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
NEVER_TRIM, MMAP_FROM = 2**31 - 1, 2**25  # bytes


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads(*, local_size: int, environment: MutableMapping[str, str] = os.environ) -> int:
    """Return the threads for one of `local_size` processes here; PLSC_NUM_THREADS overrides."""
    text = environment.get("PLSC_NUM_THREADS", "")
    return int(text) if text.isdecimal() and int(text) else max(1, cores() // local_size)


def mkl_path(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return MKL_DEBUG_CPU_TYPE for MKL's fastest path on an AMD processor; None on others."""
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return AVX2_PATH if "AMD" in platform.processor() else None
    if "AuthenticAMD" not in text:
        return None
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return AVX512_PATH if set(flags) >= AVX512_FLAGS else AVX2_PATH


def keep_freed_memory() -> bool:
    """Let freed tensors' memory serve the next ones; tell whether the C library can do so.

    glibc gives large blocks back to the system, which then clears every page of the next. Blocks
    below 32 MiB, of which a step has most, are kept here: IResNet18 trains a seventh faster than
    with 8 MiB. Larger ones would leave holes that the next do not fit into: kept up to any size,
    they make its training at batch 64 a tenth faster, and 6.6 GB large instead of 4.0.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018  other C libraries mean other things
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MMAP_FROM) and mallopt(M_TRIM_THRESHOLD, NEVER_TRIM))


def prepare(
    *, local_size: int, environment: MutableMapping[str, str] = os.environ
) -> dict[str, str]:
    """Set threads, MKL's path and malloc for one of `local_size` processes on this machine.

    PLSC_NUM_THREADS overrides the number of threads; PLSC_STOCK_CPU=1 leaves everything as it is,
    for comparison.

    Returns:
        What is in effect, by variable; kept in checkpoints, because another number of threads or
        another path changes the last bits of a training run.

    """
    if environment.get("PLSC_STOCK_CPU") != "1":
        for name in THREAD_VARIABLES:
            environment[name] = str(threads(local_size=local_size, environment=environment))
        path = mkl_path()
        if path:
            environment["MKL_DEBUG_CPU_TYPE"] = path
        # MKL's threads wait for its next call by spinning, 200 ms by default, on cores that the
        # kernels' threads and the loader's processes could use.
        environment.setdefault("KMP_BLOCKTIME", "1")
        if environment is os.environ:
            keep_freed_memory()
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
    """Return this module's variables as they are set, and whose kernels a CPU computes with."""
    names = (*THREAD_VARIABLES, "MKL_DEBUG_CPU_TYPE")
    found = {name: environment[name] for name in names if name in environment}
    return {**found, "kernels": "numba" if wanted(environment) else "paddle"}


def describe() -> str:
    """Return threads and CPU path in a few words."""
    set_here = in_effect()
    threads = set_here.get("OMP_NUM_THREADS", "default")
    path = ", MKL path for AMD" if "MKL_DEBUG_CPU_TYPE" in set_here else ""
    return f"{threads} thread(s) each{path}, CPU kernels of {set_here['kernels']}"
