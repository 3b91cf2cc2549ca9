"""Show a run: lines, a progress bar on a terminal, metrics.jsonl, VisualDL."""

import importlib.util
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

import paddle
from tqdm import tqdm

from plsc.files.atomic import write_text
from plsc.nn.device import on_gpu

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

WARM_STEPS = 5  # steps whose time is not typical: allocation, kernels chosen, workers started


class RunLog:
    """Lines for people (`<folder>/<mode>.log` and stdout) and objects for programs.

    On ranks other than the first all methods do nothing, so no caller asks for a rank.

    Args:
        folder: `<output_dir>/<Model.name>`.
        mode: train, eval or export; names the log file.
        enabled: whether this process writes.
        visualdl: also write VisualDL scalars to `<output_dir>/vdl`, if it is installed.
        console: where lines are shown; standard output if not given.

    """

    def __init__(
        self,
        folder: Path,
        mode: str,
        *,
        enabled: bool,
        visualdl: bool = False,
        console: TextIO | None = None,
    ):
        self.enabled = enabled
        self._console = console
        self.metrics_file = folder / "metrics.jsonl"
        self._text: TextIO | None = None
        self._scalars: Any = None
        self._bar: tqdm | None = None
        if not enabled:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._text = open(folder / f"{mode}.log", "a", encoding="utf-8")  # noqa: SIM115
        if visualdl:
            self._scalars = _visualdl_writer(folder.parent / "vdl")
            if self._scalars is None:
                self.warning(
                    "Global.use_visualdl is True but VisualDL is not installed: metrics.jsonl has "
                    "the figures, `pip install visualdl` brings it"
                )

    def line(self, text: str) -> None:
        """Write a line with the time to the log file, and to stdout above the progress bar."""
        self._write("INFO", text)

    def warning(self, text: str) -> None:
        """Show a line as `line` does, marked as what the user should look at."""
        self._write("WARNING", text)

    def _write(self, level: str, text: str) -> None:
        if not self.enabled or self._text is None:
            return
        stamped = f"[{time.strftime('%Y/%m/%d %H:%M:%S')}] plsc {level}: {text}"
        self._text.write(stamped + "\n")
        self._text.flush()
        console = self._console or sys.stdout
        tqdm.write(stamped, file=console)
        console.flush()

    def record(
        self, entry: Mapping[str, Any], *, scalars: Mapping[str, float] | None = None
    ) -> None:
        """Write an object to metrics.jsonl, and `scalars` to VisualDL at the entry's step."""
        if not self.enabled:
            return
        with open(self.metrics_file, "a", encoding="utf-8") as file:
            file.write(json.dumps({key: _json(value) for key, value in entry.items()}) + "\n")
        if self._scalars is not None:
            for tag, value in (scalars or {}).items():
                self._scalars.add_scalar(tag=tag, value=value, step=entry["step"])

    def begin_metrics(self, *, resumed_at: int | None) -> None:
        """Make metrics.jsonl the history of this run.

        A resumed run keeps what was logged up to its first step; steps after the checkpoint are
        about to be taken again. A fresh run sets an older file aside.
        """
        if not self.enabled or not self.metrics_file.exists():
            return
        if resumed_at is None:
            self.metrics_file.replace(self.metrics_file.with_suffix(".previous.jsonl"))
            return
        lines = self.metrics_file.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= resumed_at]
        write_text(self.metrics_file, "".join(line + "\n" for line in kept))

    def progress(self, *, total: int, done: int, epoch: str) -> None:
        """Show a progress bar over the epoch's steps, if someone is looking."""
        self.end_progress()
        if self.enabled and sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, desc=epoch, unit="step", leave=False)

    def advance(self, **shown: str) -> None:
        """Move the progress bar one step further."""
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()

    def end_progress(self) -> None:
        """Remove the progress bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def close(self) -> None:
        """Close files."""
        self.end_progress()
        if self._text is not None:
            self._text.close()
            self._text = None
        if self._scalars is not None:
            self._scalars.close()


def _json(value: Any) -> Any:
    """Return `value`, or None for a nan or inf: JSON has neither."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _step_of(line: str) -> float:
    """Return the step of a metrics.jsonl line; infinity for one that was cut short."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _visualdl_writer(folder: Path) -> Any:
    """Return VisualDL's writer to a folder; None where VisualDL is not installed."""
    if importlib.util.find_spec("visualdl") is None:
        return None
    from visualdl import LogWriter

    return LogWriter(logdir=str(folder))


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


def duration(seconds: float) -> str:
    """Return `1:02:03`, or `2 days, 1:02:03`."""
    return str(timedelta(seconds=round(seconds)))


def memory_peak() -> str:
    """Return the most memory that this process and its device have held, where it is told."""
    text = "peak memory unknown"
    if resource is not None:
        # ru_maxrss counts kilobytes on Linux, bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        text = f"peak memory {resident / 2**30:.2f} GiB"
    if on_gpu():
        text += f", on the device {paddle.device.cuda.max_memory_allocated() / 2**30:.2f} GiB"
    return text
