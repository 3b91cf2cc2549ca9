"""How much memory a process may take: the host's, its control group's."""

import mmap

import pytest

from plsc.engine.machine import available_memory, resident_memory


@pytest.fixture
def host(tmp_path):
    """`host(path, text)` writes a file below a root directory that stands for the machine's."""

    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        return tmp_path

    return write


def test_a_host_without_limits(host):
    root = host("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:  4000 kB\nHugePages_Free: 0\n")
    assert available_memory(root) == 4000 * 1024


def test_nobody_says(tmp_path):
    assert available_memory(tmp_path) is None


def test_cgroup_version_2(host):
    host("proc/meminfo", "MemAvailable: 4000 kB\n")
    host("proc/self/cgroup", "0::/job/1\n")
    host("sys/fs/cgroup/job/1/memory.max", "1000000\n")
    host("sys/fs/cgroup/job/1/memory.current", "400000\n")
    root = host("sys/fs/cgroup/job/1/memory.stat", "anon 1\ninactive_file 50000\n")
    assert available_memory(root) == 1000000 - 400000 + 50000
    host("sys/fs/cgroup/job/1/memory.max", "max\n")
    assert available_memory(root) == 4000 * 1024


def test_cgroup_version_1(host):
    host("proc/meminfo", "MemAvailable: 4000 kB\n")
    host("proc/self/cgroup", "9:cpu:/\n4:hugetlb,memory:/process/2\n1:name=systemd:/\n")
    host("sys/fs/cgroup/memory/memory.limit_in_bytes", "700000\n")
    host("sys/fs/cgroup/memory/memory.usage_in_bytes", "100000\n")
    root = host("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 1000\ninactive_file 7\n")
    assert available_memory(root) == 700000 - 100000 + 1000
    host("sys/fs/cgroup/memory/process/2/memory.limit_in_bytes", "300000\n")
    host("sys/fs/cgroup/memory/process/2/memory.usage_in_bytes", "100000\n")
    assert available_memory(root) == 200000


def test_this_machine():
    held = resident_memory()
    block = mmap.mmap(-1, 50_000_000)  # the heap may have room for it already
    block.write(bytes(len(block)))
    assert resident_memory() >= held + 0.9 * len(block)
    assert available_memory() is None or available_memory() > 0
