"""Saving a run's checkpoints at the moments that its config names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plsc.checkpoint.saver import Saver
from plsc.config.sections import GlobalConfig
from plsc.engine.log import RunLog, StepTimer
from plsc.engine.recorder import Phase
from plsc.engine.training import Training
from plsc.engine.training_state import save_training


class Checkpoints:
    """Writes checkpoints of a training; every method is called by all ranks.

    Args:
        training: what is saved.
        settings: say when.
        saver: keeps the folder of checkpoints.
        meta: further entries of every checkpoint's state.json.
        log: hears what was saved.
        timer: is reset, since a step does not take the time that saving takes.
        phase: told what the process is at.

    """

    def __init__(
        self,
        training: Training,
        settings: GlobalConfig,
        saver: Saver,
        *,
        meta: Mapping[str, Any],
        log: RunLog,
        timer: StepTimer,
        phase: Phase,
    ):
        self._training, self._settings, self._saver = training, settings, saver
        self._meta, self._log, self._timer, self._phase = meta, log, timer, phase

    def after_step(self) -> None:
        """Save where Global.save_interval counts steps."""
        settings = self._settings
        if (
            settings.save_unit == "step"
            and self._training.progress.step % settings.save_interval == 0
        ):
            self.save()

    def after_epoch(self) -> None:
        """Save where Global.save_interval counts epochs, and at the end of training."""
        progress, settings = self._training.progress, self._settings
        due = settings.save_unit == "epoch" and progress.epoch % settings.save_interval == 0
        if due or progress.finished:
            self.save()

    def save(self, *, best: bool = False) -> None:
        """Write a checkpoint unless this moment has one; `latest` is always the newest."""
        progress = self._training.progress
        self._phase(f"checkpoint at step {progress.step}", position=progress.step)
        path = self._saver.save(progress, self._write, best=best)
        self._log.line(f"saved {path}" + (" as the best so far" if best else ""))
        self._timer.reset()

    def _write(self, name: str) -> Path:
        return save_training(
            self._training,
            self._saver.folder,
            name,
            earlier=self._saver.last,
            meta={**self._meta, "run": self._saver.run_id},
            log=self._log,
        )
