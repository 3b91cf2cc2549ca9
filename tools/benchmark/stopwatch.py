"""Time code and count the bytes that pass, without a line of it in that code."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


class Stopwatch:
    """Seconds by phase; a phase within a phase counts for the inner one only.

    Work of other threads counts for no phase.
    """

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._phases: list[str] = []
        self._since = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of the block for `name`."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._count()
        self._phases.append(name)
        try:
            yield
        finally:
            self._count()
            self._phases.pop()

    def _count(self) -> None:
        now = time.perf_counter()
        if self._phases:
            self.seconds[self._phases[-1]] += now - self._since
        self._since = now

    def at(self, owner: Any, method: str, phase: str) -> None:
        """Count every call of `owner.method` for `phase` from now on."""
        inner = getattr(owner, method)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.phase(phase):
                return inner(*arguments, **named)

        setattr(owner, method, timed)


class RowTraffic:
    """Counts bytes of rows that come from the stores and go back."""

    def __init__(self) -> None:
        self.bytes: Counter[str] = Counter()
        self._inside = threading.local()

    def at(self, owner: Any, method: str, kind: str, num_bytes: Callable[..., int]) -> None:
        """Add `num_bytes(result, *arguments)` to `kind` at every call that is not in another."""
        inner = getattr(owner, method)

        def counted(*arguments: Any, **named: Any) -> Any:
            outermost = not getattr(self._inside, "yes", False)
            self._inside.yes = True
            try:
                result = inner(*arguments, **named)
            finally:
                self._inside.yes = not outermost
            if outermost:
                self.bytes[kind] += num_bytes(result, *arguments)
            return result

        setattr(owner, method, counted)


def keep_futures() -> list[Future]:
    """A list that receives what threads are given to do from now on."""
    given: list[Future] = []
    submit = ThreadPoolExecutor.submit

    def kept(*arguments: Any, **named: Any) -> Future:
        given.append(submit(*arguments, **named))
        return given[-1]

    ThreadPoolExecutor.submit = kept  # type: ignore[method-assign, assignment]
    return given
