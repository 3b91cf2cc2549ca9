"""StopRequests to stop: signals to this process, and the death of the launcher."""

import contextlib
import os
import select
import signal
from pathlib import Path
from types import FrameType

REPETITION = 2.0
"""Seconds in which a second signal is the same request: the launcher sends SIGTERM three times."""


class StopRequests:
    """Takes over SIGTERM and SIGINT of this process, and wakes it when a child ends."""

    def __init__(self) -> None:
        self._signals: list[int] = []
        self._age: float | None = None
        self._launcher = _launcher()
        self._readable, self._writable = os.pipe()
        for end in (self._readable, self._writable):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._writable, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._note)

    @property
    def heard(self) -> bool:
        """Tell whether there has been a request to stop."""
        return self._age is not None

    def sleep(self, seconds: float) -> None:
        """Wait, not longer than until the next signal or `wake`."""
        select.select([self._readable], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            os.read(self._readable, 1024)

    def close(self) -> None:
        """Ignore SIGTERM and SIGINT from now on: this process is about to exit with its status.

        The interpreter, as it ends, would give a late signal its default effect.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)

    def wake(self) -> None:
        """End the sleep; from any thread."""
        with contextlib.suppress(BlockingIOError):  # full: it will not sleep anyway
            os.write(self._writable, b"\0")

    def new(self, elapsed: float) -> list[int]:
        """Return signals to hand on; `elapsed` seconds have passed since the last call."""
        if self._launcher is not None and os.getppid() != self._launcher:
            self._launcher = None
            self._signals.append(signal.SIGTERM)
        if self._age is not None:
            self._age += elapsed
        wanted = []
        while self._signals:
            number = self._signals.pop(0)
            if self._age is None or self._age > REPETITION:
                wanted.append(number)
            self._age = 0.0
        return wanted

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._signals.append(number)


def _launcher() -> int | None:
    """Return the parent's pid if that is Paddle's launcher: when it dies, the run is to stop.

    A shell that started this process by hand may go; its processes may be meant to stay.
    """
    parent = os.getppid()
    try:
        command = Path(f"/proc/{parent}/cmdline").read_bytes()
    except OSError:
        return None
    return parent if b"paddle.distributed.launch" in command else None
