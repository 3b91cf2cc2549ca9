"""Checkpoints: directories that appear whole or not at all. The only writer of training state.

    <root>/epoch_3/                        one checkpoint
        backbone.safetensors               state dict of the backbone (PLSC's keys)
        backbone-optimizer.safetensors     `<state name>/<key>`
        head-00000-of-00002.safetensors    rows of one rank: `weight` and the optimizer state;
                                           several files where they are many (see head_files)
        state.json                         where training stands, and the resolved config
    <root>/latest -> epoch_3               replaced atomically, after the directory is there
    <root>/best_model -> epoch_2

A checkpoint is written as `.<name>.partial`, synced and renamed.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from plsc.checkpoint.sharded_files import (
    PART_CLASSES,
    SavedHead,
    Unchanged,
    head_tensors,
    parts_of,
)
from plsc.distributed import world
from plsc.distributed.collectives import gather_objects
from plsc.distributed.joint_work import Together
from plsc.errors import UserError
from plsc.files.atomic import replace, sync
from plsc.files.tensor_file import Rows, file_bytes, read_tensors, write_tensors

BACKBONE = "backbone.safetensors"
BACKBONE_OPTIMIZER = "backbone-optimizer.safetensors"
STATE = "state.json"
REQUIRED = (
    *("run", "step", "epoch", "consumed", "best_metric", "num_images", "global_batch"),
    *("num_classes", "head_shards", "scaler"),
)
FIRST_REPORT, NEXT_REPORTS = 10.0, 30.0  # seconds
SPARE_BYTES = 2**20  # for state.json, folders and the file system's own


def save(
    root: Path,
    name: str,
    *,
    backbone: Mapping[str, np.ndarray],
    backbone_optimizer: Mapping[str, np.ndarray],
    head: Mapping[str, Rows],
    state: Mapping[str, Any],
    unchanged: Unchanged | None = None,
    report: Callable[[str], None] = lambda text: None,
    part_classes: int = PART_CLASSES,
) -> Path:
    """Write `<root>/<name>`; called by all ranks, each with its own rows of the head.

    Rank 0 writes what is replicated; its arrays are the ones that count. Each rank writes in a
    thread while all ask each other in short collectives whether someone still does: gloo gives up
    after half a minute in one collective, and a large head takes longer to write.

    Args:
        root: folder of this model's checkpoints, the same folder on every node.
        name: name of the checkpoint; nothing of that name may be there.
        backbone: state dict.
        backbone_optimizer: optimizer state of the backbone.
        head: `weight` and optimizer state, [num_local, d] each; read piece by piece.
        state: anything JSON can hold, the REQUIRED keys among it.
        unchanged: what of the head need not be written again; None: all is written.
        report: hears how far it is, if it takes long.
        part_classes: classes in a file at most.

    Raises:
        UserError: a rank could not write, or there is no room; nothing of it is left, and what
            was there before is as it was.

    """
    place = world.current()
    final, partial = root / name, root / f".{name}.partial"
    meta = {**state, "head_shards": place.size, "head_part_classes": part_classes}
    text = json.dumps(meta, indent=1, sort_keys=True) + "\n"
    together = Together(f"checkpoint {final} could not be written")
    try:
        if place.is_main:
            together.attempt(_make_empty, partial)
        together.meet()
        files = _head_to_write(partial, head, unchanged, part_classes)
        if place.is_main:
            files |= {BACKBONE: backbone, BACKBONE_OPTIMIZER: backbone_optimizer}
        meter = _Meter(final, sum(map(file_bytes, files.values())), report)
        needed = sum(gather_objects(meter.total)) + SPARE_BYTES
        if place.is_main:
            together.attempt(_check_room, root, needed)
        together.meet()
        together.in_thread(lambda: _write_files(partial, files, meter), meter.look)
        meter.look(ended=True)
        together.meet()
        if place.is_main:
            together.attempt(_finish, partial, final, text)
        together.meet()
    except UserError:
        if place.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    return final


@dataclass
class _Meter:
    """How far this rank's writing is; reports now and then, and at the end if it took long."""

    final: Path
    total: int
    report: Callable[[str], None]
    done: int = 0

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._due = self._began + FIRST_REPORT

    def add(self, count: int) -> None:
        self.done += count

    def look(self, *, ended: bool = False) -> None:
        now = time.monotonic()
        spent = now - self._began
        if now >= self._due or (ended and spent >= FIRST_REPORT):
            self._due = now + NEXT_REPORTS
            self.report(
                f"{'wrote' if ended else 'writing'} {self.final}: {self.done / 1e9:.2f} of "
                f"{self.total / 1e9:.2f} GB of this rank in {spent:.0f} s "
                f"({self.done / 1e6 / spent:.0f} MB/s)"
            )


def _make_empty(partial: Path) -> None:
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()


def _head_to_write(
    partial: Path, head: Mapping[str, Rows], unchanged: Unchanged | None, part_classes: int
) -> dict[str, Mapping[str, Rows]]:
    """This rank's files of the head, but for those that could be linked from before."""
    place = world.current()
    (num_local,) = {rows.shape[0] for rows in head.values()}
    files: dict[str, Mapping[str, Rows]] = {}
    for part in parts_of(num_local, place.rank, place.size, part_classes=part_classes):
        tensors = head_tensors(head, part)
        if unchanged is None or not unchanged.link(partial, part, tensors):
            files[part.file] = tensors
    return files


def _check_room(root: Path, needed: int) -> None:
    free = shutil.disk_usage(root).free
    if needed > free:
        raise UserError(
            f"{root} has {free / 1e9:.2f} GB free and {needed / 1e9:.2f} GB are needed: free some, "
            "keep fewer by Global.max_num_latest_checkpoint, or resume the last one with another "
            "Global.output_dir"
        )


def _write_files(partial: Path, files: Mapping[str, Mapping[str, Rows]], meter: _Meter) -> None:
    for name, tensors in files.items():
        write_tensors(partial / name, tensors, written=meter.add)


def _finish(partial: Path, final: Path, state: str) -> None:
    (partial / STATE).write_text(state, encoding="utf-8")
    sync(partial / STATE)
    replace(partial, final)
    sync(final.parent)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk, opened for reading.

    Attributes:
        path: its folder.
        state: what `save` was given as `state`, `head_shards` and `head_part_classes`.

    Raises:
        UserError: the folder is not there or not a checkpoint.

    """

    path: Path
    state: dict[str, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.path / STATE).is_file():
            what = "is not a checkpoint of plsc" if self.path.is_dir() else "does not exist"
            raise UserError(f"checkpoint {self.path} {what} (a folder that holds {STATE})")

        try:
            state = json.loads((self.path / STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path / STATE} is damaged: {error}") from error
        known = state if isinstance(state, dict) else {}
        missing = [key for key in REQUIRED if key not in known]
        if missing:
            raise UserError(f"{self.path / STATE} lacks {missing[0]!r}: not a checkpoint of plsc")
        object.__setattr__(self, "state", state)

    @property
    def written(self) -> int:
        """When it was written, in nanoseconds."""
        return (self.path / STATE).stat().st_mtime_ns

    def backbone(self) -> dict[str, np.ndarray]:
        """State dict of the backbone."""
        return read_tensors(self.path / BACKBONE)

    def backbone_optimizer(self) -> dict[str, np.ndarray]:
        """Optimizer state of the backbone."""
        return read_tensors(self.path / BACKBONE_OPTIMIZER)

    @property
    def head(self) -> SavedHead:
        """The class centres and their optimizer state."""
        classes = self.state["num_classes"]
        # Until there were parts, each rank wrote one file.
        numbers = {"head_part_classes": classes, **self.state}
        for key in ("num_classes", "head_shards", "head_part_classes"):
            if type(numbers[key]) is not int or numbers[key] < 1:
                raise UserError(f"{self.path / STATE} is damaged: {key!r} is {numbers[key]!r}")
        return SavedHead(self.path, classes, numbers["head_shards"], numbers["head_part_classes"])
