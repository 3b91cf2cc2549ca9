"""What happens around the steps: log, evaluation, checkpoints, stopping."""

import math
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from plsc.checkpoint.saver import BEST, LATEST, Saver
from plsc.config.sections import MEAN, Config
from plsc.distributed.collectives import agree
from plsc.engine.data_wait import DataHint
from plsc.engine.log import RunLog, StepTimer, duration, memory_peak
from plsc.engine.skipped_images import SkipReport
from plsc.engine.training_state import save_training
from plsc.recognition.magnitude_watch import MagnitudeWatch
from plsc.recognition.metrics.verification import CollapsedEmbeddings

if TYPE_CHECKING:
    from plsc.engine.trainer import StepReport, Training
    from plsc.recognition.evaluator import VerificationEvaluator


class Phase(Protocol):
    """Hears what the process is at, and a number that grows alike on all ranks."""

    def __call__(self, phase: str, *, position: float | None = None) -> None:
        """A few words."""


@dataclass
class Keeper:
    """Keeps a run's records; called by `fit` between steps, on every rank.

    Attributes:
        training: what is being trained.
        config: says when to log, evaluate, save and stop.
        folder: `<output_dir>/<Model.name>`.
        log: where lines and metrics go.
        saver: keeps the checkpoints.
        evaluators: verification sets; `Metric.best_set` says whose metric chooses `best_model`.
        meta: further entries of every checkpoint's state.json.
        phase: told what the process is at, for a heartbeat.

    """

    training: "Training"
    config: Config
    folder: Path
    log: RunLog
    saver: Saver
    evaluators: "list[VerificationEvaluator]"
    meta: dict[str, Any]
    phase: Phase = lambda text, position=None: None

    def __post_init__(self) -> None:
        self.timer = StepTimer()
        self._hint = DataHint(self.log, self.config)
        self._skips = SkipReport(self.log, self.folder)
        margins = [margin for _, margin in self.training.head.losses]
        frozen = self.training.freeze_backbone
        self._magnitudes = MagnitudeWatch(self.log, margins, frozen=frozen)
        self._stop_signal: str | None = None
        self._evaluated_step = -1
        self._losses: list[float] = []
        self._started = time.monotonic()
        self._ratio = self.training.head.ratio()  # what the first lines of a run speak of

    def listen(self) -> None:
        """From now on SIGTERM and Ctrl-C save and stop; a second Ctrl-C interrupts."""

        def note(number: int, frame: FrameType | None) -> None:
            if self._stop_signal and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._stop_signal = signal.Signals(number).name

        signal.signal(signal.SIGTERM, note)
        signal.signal(signal.SIGINT, note)

    def epoch(self, batches: Iterator) -> Iterator:
        """`batches`, with the wait for each measured.

        Positions tell a rank that hangs over its data from those that wait for it in the step.
        """
        progress = self.training.progress
        self.log.progress(
            total=progress.steps_per_epoch,
            done=round(progress.consumed / progress.global_batch),
            epoch=f"epoch {progress.epoch + 1}/{progress.epochs}",
        )
        self.timer.reset()
        for batch in self.timer.batches(self._announced(batches)):
            self.phase(f"step {progress.step + 1}", position=progress.step + 0.5)
            yield batch

    def _announced(self, batches: Iterator) -> Iterator:
        while True:
            step = self.training.progress.step
            self.phase(f"waiting for the data of step {step + 1}", position=step)
            batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def after_step(self, report: "StepReport") -> bool:
        """Log, evaluate and save where it is due; True: stop now."""
        progress, settings = self.training.progress, self.config.Global
        self.timer.step()
        self._losses.append(report.loss)
        self._magnitudes(report.statistics)
        before, self._ratio = self._ratio, report.sample_ratio
        if self._ratio != before:
            self.log.line(f"sample_ratio {before:g} -> {self._ratio:g} at step {progress.step}")
        self.log.advance(loss=f"{report.loss:.4f}", lr=f"{report.lr:.2e}")
        if progress.step % settings.print_batch_step == 0:
            self._log_step(report)
        if settings.eval_unit == "step" and progress.step % settings.eval_interval == 0:
            self._evaluate()
        if settings.save_unit == "step" and progress.step % settings.save_interval == 0:
            self._save()
        return self.stopping()

    def after_epoch(self) -> bool:
        """Evaluate and save where it is due; True: stop now."""
        progress, settings = self.training.progress, self.config.Global
        self.log.end_progress()
        self._skips(self.training.loader.take_skipped(), progress)
        last = progress.finished
        if last or (settings.eval_unit == "epoch" and progress.epoch % settings.eval_interval == 0):
            self._evaluate()
        if last or (settings.save_unit == "epoch" and progress.epoch % settings.save_interval == 0):
            self._save()
        return self.stopping()

    def end(self) -> None:
        """Say where things are."""
        self._skips(self.training.loader.take_skipped(), self.training.progress)
        spent = duration(time.monotonic() - self._started)
        best = self.training.progress.best_metric
        shown = "" if best is None else f", best metric {best:.5f} in {self.folder / BEST}"
        self.log.line(
            f"ended at step {self.training.progress.step} after {spent}, {memory_peak()}; "
            f"checkpoint {self.folder / LATEST}{shown}"
        )

    def stopping(self) -> bool:
        """Whether a signal or `max_train_step` ends the run here; then it has been saved."""
        progress, limit = self.training.progress, self.config.Global.max_train_step
        if agree(self._stop_signal is not None):
            self.log.line(f"{self._stop_signal or 'a signal'} received: saving and stopping")
        elif limit is not None and progress.step >= limit:
            self.log.line(f"Global.max_train_step {limit} reached: saving and stopping")
        else:
            return False
        self.log.end_progress()
        self._save()
        return True

    def _log_step(self, report: "StepReport") -> None:
        progress, timer = self.training.progress, self.timer
        batch_cost, reader_cost = timer.batch_cost, timer.reader_cost
        speed = progress.global_batch / batch_cost
        left = progress.steps_left
        if self.config.Global.max_train_step is not None:
            left = min(left, self.config.Global.max_train_step - progress.step)
        mean = math.fsum(self._losses) / len(self._losses)
        done = math.ceil(progress.consumed / progress.global_batch)
        extra = "".join(f", {name}: {value:.5g}" for name, value in report.statistics.items())
        self.log.line(
            f"[Train][Epoch {progress.epoch + 1}/{progress.epochs}]"
            f"[Iter: {done}/{progress.steps_per_epoch}] lr: {report.lr:.6f}, loss: {mean:.5f}"
            f"{extra}, grad_norm: {report.grad_norm:.4f}, loss_scale: {report.loss_scale:g}"
            f"{' (overflow: step skipped)' if report.skipped else ''}, "
            f"batch_cost: {batch_cost:.5f}s, reader_cost: {reader_cost:.5f}s, "
            f"ips: {speed:.2f} images/sec, eta: {duration(left * batch_cost)}"
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
            "sample_ratio": report.sample_ratio,
            "images_per_second": speed,
            "batch_cost": batch_cost,
            "reader_cost": reader_cost,
            **report.statistics,
        }
        self.log.record(entry, scalars={"lr": report.lr, "train_loss": mean})
        self._hint(timer)
        self._losses.clear()
        timer.reset()

    def _evaluate(self) -> None:
        """Measure; keep the best by the sets that `Metric.best_set` chooses."""
        progress = self.training.progress
        if not self.evaluators or self._evaluated_step == progress.step:
            return
        self._evaluated_step = progress.step
        self.phase(f"evaluation at step {progress.step}", position=progress.step)
        metrics = [(evaluator.name, self._measure(evaluator)) for evaluator in self.evaluators]
        mean = _mean([metric for _, metric in metrics])
        if mean is not None and len(metrics) > 1:
            self.log.line(f"[Eval][Step {progress.step}] mean of {len(metrics)}: {mean:.5f}")
        chosen = self.config.Metric.best_set
        deciding = _mean([metric for name, metric in metrics if chosen in (MEAN, name)])
        best = progress.best_metric
        if deciding is not None and (best is None or deciding > best):
            progress.best_metric = deciding
            self._save(best=True)
        self.timer.reset()

    def _measure(self, evaluator: "VerificationEvaluator") -> float | None:
        """The evaluator's metric; None where the embeddings have collapsed, as they may early."""
        training, progress = self.training, self.training.progress
        epoch = progress.epoch + bool(progress.consumed)
        where = f"[Eval][Epoch {epoch}][Step {progress.step}]"
        entry = {"kind": "eval", "step": progress.step, "epoch": epoch, "set": evaluator.name}
        try:
            result = evaluator.run(training.backbone.backbone, training.precision)
        except CollapsedEmbeddings as error:
            self.log.line(f"{where} {evaluator.name}: WARNING: {error}")
            self.log.record({**entry, "collapsed": str(error)})
            return None
        self.log.line(f"{where} {evaluator.name}: {evaluator.shown(result)}")
        scalar = f"eval_metric/{evaluator.name}"
        self.log.record({**entry, **result}, scalars={scalar: result["metric"]})
        return result["metric"]

    def _save(self, *, best: bool = False) -> None:
        """Write a checkpoint unless this moment has one; `latest` is always the newest."""
        progress = self.training.progress
        self.phase(f"checkpoint at step {progress.step}", position=progress.step)
        path = self.saver.save(progress, self._write, best=best)
        self.log.line(f"saved {path}" + (" as the best so far" if best else ""))
        self.timer.reset()

    def _write(self, name: str) -> Path:
        meta = {**self.meta, "run": self.saver.run_id}
        return save_training(
            self.training, self.folder, name, earlier=self.saver.last, meta=meta, log=self.log
        )


def _mean(metrics: list[float | None]) -> float | None:
    """The mean; None if one of them is."""
    found = [metric for metric in metrics if metric is not None]
    return math.fsum(found) / len(found) if len(found) == len(metrics) else None
