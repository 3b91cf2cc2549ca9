"""Name checkpoints, keep the newest, and point `latest` and `best_model` at theirs."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from plsc.checkpoint import pointers
from plsc.checkpoint.folder import Checkpoint
from plsc.distributed import world
from plsc.distributed.collectives import broadcast_text

BEST, LATEST = "best_model", "latest"


class Moment(Protocol):
    """A position in training."""

    @property
    def name(self) -> str:
        """Return what a checkpoint of this moment is called."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it."""


class Saver:
    """Saves a run's checkpoints in one folder; `save` is called by all ranks.

    A checkpoint's name is never used twice, and only checkpoints of this run (resumed or not) are
    ever removed: what an earlier run left in the folder stays.

    Args:
        folder: `<output_dir>/<Model.name>`.
        newest: how many to keep beside those that `latest` and `best_model` name; negative: all.
        run_id: of the run that is resumed; None begins another run.

    """

    def __init__(self, folder: Path, *, newest: int, run_id: str | None = None):
        self.folder, self._newest = folder, newest
        self.run_id = run_id or broadcast_text(uuid.uuid4().hex)
        self._saved: tuple[dict[str, Any], Path] | None = None

    @property
    def last(self) -> Path | None:
        """The checkpoint in the folder that this process has written, or resumed from, last."""
        return None if self._saved is None else self._saved[1]

    def already_saved(self, progress: Moment, path: Path) -> None:
        """Say that the state of this moment lies at `path`, where it was resumed from."""
        if path.resolve().parent == self.folder.resolve():
            self._saved = progress.state(), path.resolve()

    def save(self, progress: Moment, write: Callable[[str], Path], *, best: bool = False) -> Path:
        """Have this moment's state written, unless it is, and let `latest` mean it.

        Args:
            progress: where training stands; names the checkpoint.
            write: name -> path of the checkpoint that it has written under that name.
            best: whether `best_model` means it too.

        """
        if world.current().is_main:  # before: what killed processes left takes room
            pointers.sweep(self.folder)
        if self._saved is None or self._saved[0] != progress.state():
            path = write(broadcast_text(pointers.unused_name(self.folder, progress.name)))
            self._saved = progress.state(), path
        path = self._saved[1]
        if world.current().is_main:
            # The best first: whoever resumes `latest` takes its best metric for granted.
            if best:
                pointers.point(self.folder, BEST, path.name)
            pointers.point(self.folder, LATEST, path.name)
            self._retain()
        return path

    def earlier_runs(self) -> list[str]:
        """Return the names of checkpoints in the folder that other runs wrote."""
        return sorted(item.path.name for item in self._all() if item.state["run"] != self.run_id)

    def _all(self) -> list[Checkpoint]:
        return pointers.checkpoints_in(self.folder)

    def _retain(self) -> None:
        if self._newest < 0:
            return
        named = {pointers.target(self.folder / pointer) for pointer in (BEST, LATEST)}
        own = [item for item in self._all() if item.state["run"] == self.run_id]
        own.sort(key=lambda item: item.written, reverse=True)
        for item in own[self._newest :]:
            if item.path.name not in named:
                pointers.remove(item.path)
