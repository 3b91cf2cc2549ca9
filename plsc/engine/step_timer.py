"""Time of steps, and how much of it is a wait for data."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

WARM_STEPS = 5  # steps whose time is not typical: allocation, kernels chosen, workers started


class StepTimer:
    """Time per step and time spent waiting for data, averaged since the last `reset`.

    Attributes:
        steps: of the interval since then.

    """

    def __init__(self) -> None:
        self.steps_seen = 0
        self.reset()

    def reset(self) -> None:
        """Start a new interval."""
        self._start, self.steps, self._waiting = time.perf_counter(), 0, 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of the block as wait for data."""
        if self.steps_seen == WARM_STEPS:
            self.reset()
        before = time.perf_counter()
        yield
        self._waiting += time.perf_counter() - before

    def step(self) -> None:
        """Count a step."""
        self.steps += 1
        self.steps_seen += 1

    @property
    def batch_cost(self) -> float:
        """Seconds per step."""
        return (time.perf_counter() - self._start) / max(self.steps, 1)

    @property
    def reader_cost(self) -> float:
        """Seconds per step spent waiting for data."""
        return self._waiting / max(self.steps, 1)
