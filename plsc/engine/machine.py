"""The machine that an estimate is for, and how much memory this one has left."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KIBIBYTE = 1024


@dataclass(frozen=True)
class Machine:
    """The hardware that an estimate is for; the defaults are a GPU's.

    Attributes:
        devices: ranks, one on each.
        framework: bytes that libraries and context take before a tensor exists.
        slack: bytes that the allocator holds beyond the tensors, as a share of those of a step.
        most_slack: bytes that it holds at most.

    """

    devices: int = 1
    framework: float = 1.5e9
    slack: float = 0.0
    most_slack: float = float("inf")

    @classmethod
    def cpu(cls, ranks: int) -> "Machine":
        """Return what was measured of ranks on CPUs.

        A process with paddle, numba's kernels and MKL's workspaces holds 0.49 GB. Freed blocks of
        less than 32 MiB stay with it (`plsc.nn.environment`), and not all are of a size that comes
        next: the heap grows beyond the tensors by 0.06 GB and some 30 % of those of a step, 0.5 GB
        at the most (larger batches have larger blocks).
        """
        return cls(devices=ranks, framework=0.55e9, slack=0.3, most_slack=0.5e9)


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that this process may still take of the host; None where nobody says.

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
    """Yield files with limit, use and statistics of this process's control groups, v1 and v2."""
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
    """Return first word -> second, of the lines whose second is a whole number."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}


def resident_memory() -> int:
    """Return the bytes of memory that this process holds; 0 where nobody says."""
    return _fields(Path("/proc/self/status")).get("VmRSS:", 0) * KIBIBYTE
