"""Reports of a write that takes long."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FIRST_REPORT, NEXT_REPORTS = 10.0, 30.0  # seconds


@dataclass
class WriteMeter:
    """Reports how much this rank has written, now and then, and at the end if it took long.

    Attributes:
        final: the checkpoint.
        total: bytes to write.
        report: hears a line.
        done: bytes written.

    """

    final: Path
    total: int
    report: Callable[[str], None]
    done: int = 0

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._due = self._began + FIRST_REPORT

    def add(self, count: int) -> None:
        """Count bytes that were written."""
        self.done += count

    def look(self, *, ended: bool = False) -> None:
        """Report where that is due."""
        now = time.monotonic()
        spent = now - self._began
        if now >= self._due or (ended and spent >= FIRST_REPORT):
            self._due = now + NEXT_REPORTS
            self.report(
                f"{'wrote' if ended else 'writing'} {self.final}: {self.done / 1e9:.2f} of "
                f"{self.total / 1e9:.2f} GB of this rank in {spent:.0f} s "
                f"({self.done / 1e6 / spent:.0f} MB/s)"
            )
