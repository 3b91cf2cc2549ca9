"""Show a run: lines, a progress bar on a terminal, metrics.jsonl, VisualDL."""

import contextlib
import importlib.util
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import paddle
from tqdm import tqdm

from plsc.errors import UserError, printable, refusal
from plsc.files.atomic import make_folder, replacing
from plsc.nn.device import on_gpu

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


class RunLog:
    """Lines for people (`<folder>/<mode>.log` and stdout) and objects for programs.

    On ranks other than the first all methods do nothing, so no caller asks for a rank. A file or a
    console that cannot be written, as on a full disk, ends no run: one line says so where one can.

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
        self._text: BinaryIO | None = None
        self._failed: set[str] = set()  # what could not be written, and has been said
        self._scalars: Any = None
        self._bar: tqdm | None = None
        if not enabled:
            return
        make_folder(folder)
        self._text = _appended(folder / f"{mode}.log")
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
        shown = "\n".join(map(printable, text.split("\n")))
        stamped = f"[{time.strftime('%Y/%m/%d %H:%M:%S')}] plsc {level}: {shown}"
        self._console_line(stamped)
        with self.going_on("the log"):
            _write_all(self._text, stamped)

    def _console_line(self, text: str) -> None:
        console = self._console or sys.stdout
        with self.going_on("the console"):
            tqdm.write(text, file=console)
            console.flush()

    @contextmanager
    def going_on(self, what: str) -> Iterator[None]:
        """Say once that the block could not write `what`, in place of an OSError."""
        try:
            yield
        except OSError as error:
            if what not in self._failed:
                self._failed.add(what)
                self.warning(f"{what} cannot be written, and the work goes on: {refusal(error)}")

    def record(
        self, entry: Mapping[str, Any], *, scalars: Mapping[str, float] | None = None
    ) -> None:
        """Write an object to metrics.jsonl, and `scalars` to VisualDL at the entry's step."""
        if not self.enabled:
            return
        text = json.dumps({key: _json(value) for key, value in entry.items()})
        with self.going_on("metrics.jsonl"), open(self.metrics_file, "ab", buffering=0) as file:
            _write_all(file, text)
        if self._scalars is not None:
            with self.going_on("VisualDL's log"):
                for tag, value in (scalars or {}).items():
                    self._scalars.add_scalar(tag=tag, value=value, step=entry["step"])

    def begin_metrics(self, *, resumed_at: int | None) -> None:
        """Make metrics.jsonl the history of this run.

        A resumed run keeps what was logged up to its first step; steps after the checkpoint are
        about to be taken again. A fresh run sets an older file aside.
        """
        if not self.enabled or not self.metrics_file.exists():
            return
        with self.going_on("metrics.jsonl"):
            if resumed_at is None:
                self.metrics_file.replace(self.metrics_file.with_suffix(".previous.jsonl"))
                return
            lines = self.metrics_file.read_bytes().split(b"\n")
            kept = [line for line in lines if _step_of(line) <= resumed_at]
            with replacing(self.metrics_file) as beside:
                beside.write_bytes(b"".join(line + b"\n" for line in kept))

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
            with contextlib.suppress(OSError):  # a network file system may refuse only now
                self._text.close()
            self._text = None
        if self._scalars is not None:
            with contextlib.suppress(OSError):
                self._scalars.close()


def _json(value: Any) -> Any:
    """Return `value`, or None for a nan or inf: JSON has neither."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _step_of(line: bytes) -> float:
    """Return the step of a metrics.jsonl line; infinity for one that is cut short or damaged."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return float("inf")


def _appended(path: Path) -> BinaryIO:
    """Return a file to append to, without a buffer that would fail once more when it is closed.

    Raises:
        UserError: the system refuses.

    """
    try:
        return open(path, "ab", buffering=0)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def _write_all(file: Any, line: str) -> None:
    """Write a line; a disk that fills up within it raises OSError, and the next line is whole."""
    left = memoryview(line.encode("utf-8", "backslashreplace") + b"\n")
    while left:
        try:
            left = left[file.write(left) :]
        except OSError:
            with contextlib.suppress(OSError):
                file.write(b"\n")
            raise


def _visualdl_writer(folder: Path) -> Any:
    """Return VisualDL's writer to a folder; None where VisualDL is not installed."""
    if importlib.util.find_spec("visualdl") is None:
        return None
    from visualdl import LogWriter

    return LogWriter(logdir=str(folder))


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
