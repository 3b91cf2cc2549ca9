"""The machine that a plan is for, and how much memory this one has."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KIBIBYTE = 1024


@dataclass(frozen=True)
class Machine:
    """What is stated about the hardware; speeds are peaks per device.

    Attributes:
        devices: ranks, one on each.
        memory: bytes of a device; None if not stated.
        bandwidth: bytes/s between devices, one direction.
        flops: FLOP/s of the backbone in its precision.
        head_flops: FLOP/s in float32, in which the head computes; flops / 8 if not stated.
        memory_bandwidth: bytes/s of a device's own memory.
        efficiency: the share of these speeds that real layers reach.
        overhead: seconds that a step takes beside its work.
        framework: bytes that libraries and context take before a tensor exists.
        slack: bytes that the allocator holds beyond the tensors, as a share of those of a step.
        most_slack: bytes that it holds at most.

    """

    devices: int = 1
    memory: float | None = None
    bandwidth: float = 12e9
    flops: float = 100e12
    head_flops: float | None = None
    memory_bandwidth: float = 900e9
    efficiency: float = 0.35
    overhead: float = 0.04
    framework: float = 1.5e9
    slack: float = 0.0
    most_slack: float = float("inf")

    @classmethod
    def cpu(cls, ranks: int) -> "Machine":
        """Ranks on CPUs: what is measured there.

        A process with paddle, numba's kernels and MKL's workspaces holds 0.49 GB. Freed blocks of
        less than 32 MiB stay with it (`plsc.nn.environment`), and not all are of a size that comes
        next: the heap grows beyond the tensors by 0.06 GB and some 30 % of those of a step, 0.5 GB
        at the most (larger batches have larger blocks).
        """
        return cls(
            devices=ranks,
            bandwidth=2e9,
            flops=150e9,
            head_flops=150e9,
            memory_bandwidth=20e9,
            efficiency=0.6,
            overhead=0.0,
            framework=0.55e9,
            slack=0.3,
            most_slack=0.5e9,
        )

    @property
    def float32_flops(self) -> float:
        """FLOP/s of the head."""
        return self.flops / 8 if self.head_flops is None else self.head_flops


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take of the host's memory; None where nobody says.

    The least of MemAvailable and what its control groups have left, their caches of files not
    counted. `root` is where /proc and /sys are.
    """
    found = [_group_left(*files) for files in _groups(root)]
    memory = _fields(root / "proc/meminfo")
    if "MemAvailable:" in memory:
        found.append(memory["MemAvailable:"] * KIBIBYTE)
    known = [left for left in found if left is not None]
    return min(known) if known else None


def _groups(root: Path) -> Iterator[tuple[Path, Path, Path]]:
    """Files with limit, use and statistics of this process's groups, both versions of them."""
    listed = root / "proc/self/cgroup"
    for line in listed.read_text().splitlines() if listed.exists() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, limit, used = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        for folder in (base, base / path.strip("/")):
            yield folder / limit, folder / used, folder / "memory.stat"


def _group_left(limit: Path, used: Path, statistics: Path) -> int | None:
    if not (limit.exists() and used.exists() and limit.read_text().strip().isdigit()):
        return None
    figures = _fields(statistics)
    cache = figures.get("total_inactive_file", figures.get("inactive_file", 0))
    return int(limit.read_text()) - int(used.read_text()) + cache


def _fields(path: Path) -> dict[str, int]:
    """First word -> second, of the lines whose second is a whole number."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}


def resident_memory() -> int:
    """Bytes of memory that this process holds; 0 where nobody says."""
    return _fields(Path("/proc/self/status")).get("VmRSS:", 0) * KIBIBYTE
