"""Saving a run's checkpoints at the moments that its config names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from plsc.checkpoint.saver import Saver
from plsc.config.sections import GlobalConfig
from plsc.engine.log import RunLog
from plsc.engine.recorder import Pause
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
        pause: around the work, as Recorder's.
        require: checks that the folder still is this run's.

    """

    def __init__(
        self,
        training: Training,
        settings: GlobalConfig,
        saver: Saver,
        *,
        meta: Mapping[str, Any],
        log: RunLog,
        pause: Pause,
        require: Callable[[], None] = lambda: None,
    ):
        self._training, self._settings, self._saver = training, settings, saver
        self._meta, self._log, self._pause = meta, log, pause
        self._require = require

    def after(self, what: str) -> None:
        """Save after a "step" or an "epoch" if Global.save_interval says so."""
        settings = self._settings
        if self._training.progress.due(settings.save_unit, settings.save_interval, after=what):
            self.save()

    def save(self, *, best: bool = False) -> None:
        """Write a checkpoint unless this moment has one; `latest` is always the newest."""
        with self._pause("checkpoint"):
            self._require()
            path = self._saver.save(self._training.progress, self._write, best=best)
            self._log.line(f"saved {path}" + (" as the best so far" if best else ""))

    def _write(self, name: str) -> Path:
        return save_training(
            self._training,
            self._saver.folder,
            name,
            earlier=self._saver.last,
            meta={**self._meta, "run": self._saver.run_id},
            log=self._log,
        )
