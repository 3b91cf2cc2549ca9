"""End a run before its last epoch: at a signal, or at Global.max_train_step."""

import signal
from types import FrameType

from plsc.distributed.collectives import agree
from plsc.engine.log import RunLog
from plsc.engine.progress import Progress


class Stopping:
    """Tells all ranks alike whether to save and stop.

    Args:
        progress: where training stands.
        log: hears why a run stops.
        max_train_step: optimizer steps after which it stops; None for no limit.

    """

    def __init__(self, progress: Progress, log: RunLog, *, max_train_step: int | None = None):
        self._progress, self._log, self._limit = progress, log, max_train_step
        self._signal: str | None = None

    def listen(self) -> None:
        """Let SIGTERM and Ctrl-C save and stop from now on; a second Ctrl-C interrupts."""

        def note(number: int, frame: FrameType | None) -> None:
            if self._signal and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._signal = signal.Signals(number).name

        signal.signal(signal.SIGTERM, note)
        signal.signal(signal.SIGINT, note)

    def now(self) -> bool:
        """Return whether the run ends here, the same on every rank; called by all ranks."""
        if agree(self._signal is not None):
            self._log.line(f"{self._signal or 'a signal'} received: saving and stopping")
        elif self._limit is not None and self._progress.step >= self._limit:
            self._log.line(f"Global.max_train_step {self._limit} reached: saving and stopping")
        else:
            return False
        self._log.end_progress()
        return True
