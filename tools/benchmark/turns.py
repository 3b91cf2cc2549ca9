"""Let processes that are measured beside each other take turns, and read their memory."""

import contextlib
import time
from pathlib import Path

from plsc.files.atomic import write_text

KIBIBYTE = 1024


class Turns:
    """Lets `count` processes work one after the other, round and round; needs no launcher.

    The number of the process whose turn it is stands in a file, which whoever starts them writes
    first ("0"). All are to take the same number of turns.
    """

    def __init__(self, path: str | Path, *, number: int, count: int):
        self.path, self.number, self.count = Path(path), number, count

    def wait(self) -> None:
        """Return when it is this process's turn."""
        while int(self.path.read_text()) != self.number:
            time.sleep(0.002)

    def give(self) -> None:
        """Let the next one work."""
        beside = self.path.with_suffix(f".{self.number}")
        following = str((self.number + 1) % self.count)
        write_text(self.path, following, partial=beside, synced=False)


def memory() -> dict[str, float]:
    """GB (10^9 bytes) of this process: the most it ever held, what it holds, what of it is files.

    Zeros where the system does not say (only Linux does).
    """
    names = {"peak_gb": "VmHWM", "resident_gb": "VmRSS", "mapped_files_gb": "RssFile"}
    found = {name: round(held(field) / 1e9, 3) for name, field in names.items()}
    # Linux brings its own maximum up to date only now and then.
    return {**found, "peak_gb": max(found["peak_gb"], found["resident_gb"])}


def held(field: str) -> int:
    """Bytes of a line of /proc/self/status; 0 where there is none."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    found = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(found[0]) * KIBIBYTE if found else 0


def forget_peak() -> None:
    """Let VmHWM begin anew; where the system refuses, it stays the peak from the start."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
