"""What is set before paddle is imported."""

import os
import platform
import subprocess
import sys

import pytest

from plsc.data.dataset.tools import render_synthetic_faces
from plsc.nn import environment as runtime

AVX512 = "avx512f avx512dq avx512cd avx512bw avx512vl avx512_vnni"


@pytest.mark.parametrize(
    ("vendor", "flags", "path"),
    [
        ("AuthenticAMD", f"fpu avx2 {AVX512} sse", "9"),
        ("AuthenticAMD", "fpu avx2 avx512f", "5"),
        ("AuthenticAMD", "fpu avx2", "5"),
        ("GenuineIntel", f"fpu avx2 {AVX512}", None),
    ],
)
def test_path_of_mkl(tmp_path, vendor, flags, path):
    text = f"processor : 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\n\n"
    (tmp_path / "cpuinfo").write_text(text * 2)
    assert runtime.mkl_path(tmp_path / "cpuinfo") == path


def test_cores_where_the_system_does_not_say_which_are_ours(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert runtime.cores() == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert runtime.cores() == 1
    with pytest.raises(SystemExit, match="0"):  # its default is met when its parser is made
        render_synthetic_faces.main(["--help"])


def test_threads_are_shared_by_the_ranks_of_a_machine(monkeypatch):
    monkeypatch.setattr(runtime, "cores", lambda: 8)
    assert runtime.threads(local_size=1, environment={}) == 8
    assert runtime.threads(local_size=3, environment={}) == 2
    assert runtime.threads(local_size=16, environment={}) == 1
    assert runtime.threads(local_size=1, environment={"PLSC_NUM_THREADS": "3"}) == 3


def test_prepare_shares_the_cores_and_leaves_what_the_user_set(monkeypatch):
    monkeypatch.setattr(runtime, "cores", lambda: 8)
    environment = {"OMP_NUM_THREADS": "1", "KMP_BLOCKTIME": "7"}
    found = runtime.prepare(local_size=3, environment=environment)
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "2"
    assert environment["KMP_BLOCKTIME"] == "7" and found["OMP_NUM_THREADS"] == "2"
    environment["PLSC_NUM_THREADS"] = "5"
    assert runtime.prepare(local_size=3, environment=environment)["MKL_NUM_THREADS"] == "5"


def test_stock_leaves_everything():
    environment = {"PLSC_STOCK_CPU": "1", "OMP_NUM_THREADS": "1"}
    assert runtime.prepare(local_size=1, environment=environment) == {
        "OMP_NUM_THREADS": "1",
        "kernels": "paddle",
    }
    assert set(environment) == {"PLSC_STOCK_CPU", "OMP_NUM_THREADS", "GLOG_minloglevel"}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_serves_again():
    program = (
        "import resource, numpy as np\n"
        "from plsc.nn import environment as runtime\n"
        "assert runtime.keep_freed_memory()\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "np.ones(10**6, np.float32)\n"
        "before = faults()\n"
        "for _ in range(5): np.ones(10**6, np.float32)\n"
        "assert faults() - before < 100, faults() - before\n"  # of 977 pages each
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
