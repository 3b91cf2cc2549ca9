"""Record the steps of a run: lines, metrics, a progress bar, signs of life."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from plsc.checkpoint.saver import BEST, LATEST
from plsc.config.sections import Config
from plsc.data.loader.batch import Batch
from plsc.engine.data_wait import DataWaitAdvice
from plsc.engine.log import RunLog, duration, memory_peak
from plsc.engine.skipped_images import SkipReport
from plsc.engine.step_timer import StepTimer
from plsc.engine.training import Training
from plsc.engine.training_task import StepReport, Watcher


class Phase(Protocol):
    """Hears what the process is at, and a number that grows alike on all ranks."""

    def __call__(self, phase: str, *, position: float | None = None) -> None:
        """Take a few words."""


Pause = Callable[[str], AbstractContextManager[None]]


class Recorder:
    """Records the steps of a run; every method is called by all ranks.

    Args:
        training: whose steps these are.
        config: says how often a line is due.
        folder: `<output_dir>/<Model.name>`.
        log: where lines and metrics go.
        watchers: look at every step.
        phase: told what the process is at, for a heartbeat.

    """

    def __init__(
        self,
        training: Training,
        config: Config,
        folder: Path,
        log: RunLog,
        *,
        watchers: Sequence[Watcher] = (),
        phase: Phase,
    ):
        self._timer = StepTimer()
        self._training, self._settings, self._folder = training, config.Global, folder
        self._log, self._watchers, self._phase = log, watchers, phase
        self._data_wait = DataWaitAdvice(log, config)
        self._skips = SkipReport(log, folder)
        self._losses: list[float] = []
        self._started = time.monotonic()

    def epoch(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the batches of an epoch, with the wait for each measured.

        Positions tell a rank that hangs over its data from those that wait for it in the step.
        """
        progress = self._training.progress
        self._log.progress(
            total=progress.steps_per_epoch,
            done=round(progress.consumed / progress.global_batch),
            epoch=f"epoch {progress.epoch + 1}/{progress.epochs}",
        )
        self._timer.reset()
        while True:
            step = progress.step
            self._phase(f"waiting for the data of step {step + 1}", position=step)
            with self._timer.waiting():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    @contextmanager
    def pause(self, what: str) -> Iterator[None]:
        """Say that the process is at `what`; no step takes the time of the block."""
        step = self._training.progress.step
        self._phase(f"{what} at step {step}", position=step)
        yield
        self._timer.reset()

    def step_begins(self) -> None:
        """Say that the data of a step is there."""
        step = self._training.progress.step
        self._phase(f"step {step + 1}", position=step + 0.5)

    def step_ends(self, report: StepReport) -> None:
        """Count a step, and show it where that is due."""
        step = self._training.progress.step
        self._timer.step()
        self._losses.append(report.loss)
        for watcher in self._watchers:
            watcher(report, step)
        self._log.advance(loss=f"{report.loss:.4f}", lr=f"{report.lr:.2e}")
        if step % self._settings.print_batch_step == 0:
            self._show(report)

    def epoch_ends(self) -> None:
        """Say which images were left out."""
        self._log.end_progress()
        self._report_skipped()

    def run_ends(self) -> None:
        """Say where things are."""
        self._report_skipped()
        progress = self._training.progress
        spent = duration(time.monotonic() - self._started)
        best = progress.best_metric
        latest = self._folder / LATEST
        saved = f"; checkpoint {latest}" if latest.exists() else ""  # none where nothing was left
        shown = "" if best is None else f", best metric {best:.5f} in {self._folder / BEST}"
        self._log.line(
            f"ended at step {progress.step} after {spent}, {memory_peak()}{saved}{shown}"
        )

    def _report_skipped(self) -> None:
        self._skips(self._training.loader.take_skipped(), self._training.progress)

    def _show(self, report: StepReport) -> None:
        progress, timer = self._training.progress, self._timer
        batch_cost, reader_cost = timer.batch_cost, timer.reader_cost
        speed = progress.global_batch / batch_cost
        mean = math.fsum(self._losses) / len(self._losses)
        done = math.ceil(progress.consumed / progress.global_batch)
        extra = "".join(f", {name}: {value:.5g}" for name, value in report.statistics.items())
        self._log.line(
            f"[Train][Epoch {progress.epoch + 1}/{progress.epochs}]"
            f"[Iter: {done}/{progress.steps_per_epoch}] lr: {report.lr:.6f}, loss: {mean:.5f}"
            f"{extra}, grad_norm: {report.grad_norm:.4f}, loss_scale: {report.loss_scale:g}"
            f"{' (overflow: step skipped)' if report.skipped else ''}, "
            f"batch_cost: {batch_cost:.5f}s, reader_cost: {reader_cost:.5f}s, "
            f"ips: {speed:.2f} images/sec, eta: {duration(self._steps_left() * batch_cost)}"
        )
        entry = {
            "kind": "train",
            "step": progress.step,
            "epoch": progress.epoch + 1,
            "loss": report.loss,
            "loss_mean": mean,
            "lr": report.lr,
            "grad_norm": report.grad_norm,
            "loss_scale": report.loss_scale,
            "images_per_second": speed,
            "batch_cost": batch_cost,
            "reader_cost": reader_cost,
            **report.figures,
            **report.statistics,
        }
        self._log.record(entry, scalars={"lr": report.lr, "train_loss": mean})
        self._data_wait(timer)
        self._losses.clear()
        timer.reset()

    def _steps_left(self) -> float:
        progress, limit = self._training.progress, self._settings.max_train_step
        left = progress.steps_left
        return left if limit is None else min(left, limit - progress.step)
