"""Counts kernel launches, host waits and copies of training steps by phase, on a CPU.

A GPU runs what it is given faster than Python can give it, so the number of launches and of waits
for the device decides what dynamic mode costs there. The numbers are the same on a CPU with
Paddle's own operators (PLSC_STOCK_CPU=1).
"""

import contextlib
import functools
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paddle
from paddle import profiler

WAITS = ("numpy", "item", "tolist", "cpu", "__float__", "__int__", "__bool__")
COPIES = ("copy_", "set_value")  # and to_tensor, and clear_gradient that writes zeros
MARK = "plsc:"


class LaunchCounter:
    """Counts what happens in its phases; see `phase`, `counting` and `report`.

    Attributes:
        counts: of "launches" and "waits", by phase. What the profiler of Paddle does not show (a
            copy by `set_value`, for one) counts as a launch.

    """

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {"launches": Counter(), "waits": Counter()}
        self._phases = ["loop"]
        self._inside = False  # of a call that counts: what it calls itself does not

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens in the block under `name`."""
        self._phases.append(name)
        try:
            with profiler.RecordEvent(MARK + name):
                yield
        finally:
            self._phases.pop()

    def in_phase(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, whose calls are a phase."""

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            with self.phase(name):
                return function(*arguments, **named)

        return call

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Count in the block."""
        profile = profiler.Profiler(
            targets=[profiler.ProfilerTarget.CPU], on_trace_ready=lambda _: None
        )
        with self._watched():
            profile.start()
            try:
                yield
            finally:
                profile.stop()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "trace.json")
            profile.export(str(path), format="json")
            self._take(json.loads(path.read_text())["traceEvents"])

    def _take(self, events: list[dict[str, Any]]) -> None:
        """Count the kernels of a trace, each in the innermost phase around it."""
        spans = [
            (event["ts"], event["ts"] + event["dur"], event["name"].removeprefix(MARK))
            for event in events
            if event.get("name", "").startswith(MARK)
        ]
        for event in events:
            if event.get("cat") == "DygraphKernelLaunch":
                around = [span for span in spans if span[0] <= event["ts"] < span[1]]
                name = max(around)[2].split("[")[0] if around else "loop"
                self.counts["launches"][name] += 1

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for name in WAITS:
                self._watch(stack, paddle.Tensor, name, "waits")
            for name in COPIES:
                self._watch(stack, paddle.Tensor, name, "launches")
            self._watch(stack, paddle, "to_tensor", "launches")
            self._watch(
                stack,
                paddle.Tensor,
                "clear_gradient",
                "launches",
                lambda _, set_to_zero=True: set_to_zero,
            )
            yield

    def _watch(
        self,
        stack: contextlib.ExitStack,
        owner: Any,
        name: str,
        kind: str,
        counts: Callable[..., bool] = lambda *_, **__: True,
    ) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return original(*arguments, **named)
            if counts(*arguments, **named):
                self.counts[kind][self._phases[-1]] += 1
            self._inside = True
            try:
                return original(*arguments, **named)
            finally:
                self._inside = False

        setattr(owner, name, call)
        stack.callback(setattr, owner, name, original)
