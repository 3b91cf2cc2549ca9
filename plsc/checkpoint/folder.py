"""Checkpoints: directories that appear whole or not at all. The only writer of training state.

    <root>/epoch_3/                        one checkpoint
        backbone.safetensors               state dict of the network (PLSC's keys)
        backbone-optimizer.safetensors     `<state name>/<key>`
        head-00000-of-00002.safetensors    rows of one rank that are split over the ranks: `weight`
                                           and the optimizer state; `head` is what the task calls
                                           them; several files where they are many
        statistics-00000-of-00002.safetensors  of several ranks: what each BatchNorm of one has seen
        state.json                         where training stands, the resolved config, and sums
                                           of all files: checksums.py
    <root>/latest -> epoch_3               replaced atomically, after the directory is there
    <root>/best_model -> epoch_2

A checkpoint is written as `.<name>.partial`, synced and renamed.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from plsc.checkpoint.checksums import Known, opened, sealed
from plsc.checkpoint.sharded_files import (
    PART_ROWS,
    SavedRows,
    Unchanged,
    parts_of,
    tensors_of,
)
from plsc.checkpoint.state_kinds import wrong_kind
from plsc.checkpoint.write_meter import WriteMeter
from plsc.distributed import world
from plsc.distributed.collectives import gather_objects
from plsc.distributed.joint_work import JointWork
from plsc.errors import DamagedFile, UserError
from plsc.files.atomic import replace, sync
from plsc.files.mapped_file import read_json
from plsc.files.tensor_file import RowSource, file_bytes, read_tensors, write_tensors

BACKBONE = "backbone.safetensors"
BACKBONE_OPTIMIZER = "backbone-optimizer.safetensors"
STATE = "state.json"
REQUIRED = (
    *("run", "step", "epoch", "consumed", "best_metric", "num_images", "global_batch"),
    "scaler",
)
SPARE_BYTES = 2**20  # for state.json, folders and the file system's own


def save(
    root: Path,
    name: str,
    *,
    network: Mapping[str, np.ndarray],
    optimizer: Mapping[str, np.ndarray],
    sharded: Mapping[str, Mapping[str, RowSource]],
    state: Mapping[str, Any],
    unchanged: Mapping[str, Unchanged] | None = None,
    report: Callable[[str], None] = lambda text: None,
    part_rows: int = PART_ROWS,
) -> Path:
    """Write `<root>/<name>`; called by all ranks, each with its own rows.

    Rank 0 writes what is replicated; its arrays are the ones that count. Each rank writes in a
    thread while all ask each other in short collectives whether someone still does: gloo gives up
    after half a minute in one collective, and many rows take longer to write.

    Args:
        root: folder of this model's checkpoints, the same folder on every node.
        name: name of the checkpoint; nothing of that name may be there.
        network: state dict.
        optimizer: optimizer state of the network.
        sharded: by the stem of their files: `weight` and optimizer state, [num_local, d] each;
            read piece by piece.
        state: anything JSON can hold, the REQUIRED keys among it.
        unchanged: by stem, what need not be written again; where one is missing, all is written.
        report: hears how far it is, if it takes long.
        part_rows: rows in a file at most.

    Raises:
        UserError: a rank could not write, or there is no room; nothing of it is left, and what
            was there before is as it was.

    """
    place = world.current()
    final, partial = root / name, root / f".{name}.partial"
    meta = dict(state)
    # The first rows that there were are class centres. Rows of any kind keep those JSON keys, so
    # that old and new versions read each other's checkpoints.
    for stem in sharded:
        meta |= {f"{stem}_shards": place.size, f"{stem}_part_classes": part_rows}
    work = JointWork(f"checkpoint {final} could not be written")
    try:
        if place.is_main:
            work.attempt(_make_empty, partial)
        work.raise_failures()
        files, sums = _rows_to_write(partial, sharded, unchanged or {}, part_rows)
        if place.is_main:
            files |= {BACKBONE: network, BACKBONE_OPTIMIZER: optimizer}
        meter = WriteMeter(final, sum(map(file_bytes, files.values())), report)
        needed = sum(gather_objects(meter.total)) + SPARE_BYTES
        if place.is_main:
            work.attempt(_check_room, root, needed)
        work.raise_failures()
        work.in_threads(lambda: _write_files(partial, files, sums, meter), meter.look)
        meter.look(ended=True)
        work.raise_failures()
        all_sums = dict(work.collect(list(sums.items())))
        if place.is_main:
            work.attempt(_finish, partial, final, sealed(meta, all_sums))
        work.raise_failures()
    except UserError:
        if place.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    return final


def _make_empty(partial: Path) -> None:
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()


def _rows_to_write(
    partial: Path,
    sharded: Mapping[str, Mapping[str, RowSource]],
    unchanged: Mapping[str, Unchanged],
    part_rows: int,
) -> tuple[dict[str, Mapping[str, RowSource]], dict[str, str]]:
    """Link this rank's files of rows that are as before; return the others, and known sums."""
    place = world.current()
    files: dict[str, Mapping[str, RowSource]] = {}
    sums: dict[str, str] = {}
    for stem, rows in sharded.items():
        earlier = unchanged.get(stem)
        known = _known_sums(earlier.folder) if earlier else {}
        (num_local,) = {tensor.shape[0] for tensor in rows.values()}
        for part in parts_of(stem, num_local, place.rank, place.size, part_rows=part_rows):
            tensors = tensors_of(rows, part)
            if earlier is None or not earlier.link(partial, part, tensors):
                files[part.file] = tensors
            elif part.file in known:
                sums[part.file] = known[part.file]
    return files, sums


def _known_sums(folder: Path) -> Mapping[str, str]:
    try:
        return Checkpoint(folder).sums
    except UserError:
        return {}


def _check_room(root: Path, needed: int) -> None:
    free = shutil.disk_usage(root).free
    if needed > free:
        raise UserError(
            f"{root} has {free / 1e9:.2f} GB free and {needed / 1e9:.2f} GB are needed: free some, "
            "keep fewer by Global.max_num_latest_checkpoint, or resume the last one with another "
            "Global.output_dir"
        )


def _write_files(
    partial: Path,
    files: Mapping[str, Mapping[str, RowSource]],
    sums: dict[str, str],
    meter: WriteMeter,
) -> None:
    for name, tensors in files.items():
        sums[name] = write_tensors(partial / name, tensors, written=meter.add)


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
        state: what `save` was given as `state`, and in how many files the split rows lie.
        sums: of its files, by name; what is read is checked by them. Old ones have none.
        saved_at: seconds; of a copy, when the original was written, where that is told.

    Raises:
        DamagedFile: the folder is not there, not a checkpoint or damaged.

    """

    path: Path
    state: dict[str, Any] = field(init=False, default_factory=dict)
    sums: Mapping[str, str] = field(init=False, default_factory=dict)
    saved_at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        if not (self.path / STATE).is_file():
            what = "is not a checkpoint of plsc" if self.path.is_dir() else "does not exist"
            raise DamagedFile(f"checkpoint {self.path} {what} (a folder that holds {STATE})")

        try:
            content = read_json(self.path / STATE, "state")
            content = content if isinstance(content, dict) else {}
            missing = [key for key in REQUIRED if key not in content]
            state, known = ({}, Known()) if missing else opened(content)
            if wrong := wrong_kind(state):
                raise ValueError(wrong)
        except (OSError, ValueError) as error:
            raise DamagedFile(
                f"{self.path / STATE} is damaged: {error}; copy it anew or take another checkpoint"
            ) from error
        if missing:
            raise DamagedFile(f"{self.path / STATE} lacks {missing[0]!r}: not a checkpoint of plsc")
        object.__setattr__(self, "state", state)
        object.__setattr__(self, "sums", known.files)
        saved_at = self.written / 1e9 if known.saved_at is None else known.saved_at
        object.__setattr__(self, "saved_at", saved_at)

    @property
    def written(self) -> int:
        """Time at which it was written, in nanoseconds."""
        return (self.path / STATE).stat().st_mtime_ns

    def network(self) -> dict[str, np.ndarray]:
        """Return the network's state dict."""
        return read_tensors(self.path / BACKBONE, self.sums.get(BACKBONE))

    def optimizer(self) -> dict[str, np.ndarray]:
        """Return the network's optimizer state."""
        file = BACKBONE_OPTIMIZER
        return read_tensors(self.path / file, self.sums.get(file))

    def rows(self, stem: str, count_key: str) -> SavedRows:
        """Return rows that were split over the ranks, with their optimizer state.

        Args:
            stem: what their files begin with.
            count_key: what the state calls their number.

        Raises:
            DamagedFile: the state does not say how many there are, or in which files.

        """
        # Until there were parts, each rank wrote one file.
        part_key, ranks_key = f"{stem}_part_classes", f"{stem}_shards"
        numbers = {part_key: self.state.get(count_key), **self.state}
        for key in (count_key, ranks_key, part_key):
            if key not in numbers:
                raise DamagedFile(f"{self.path / STATE} lacks {key!r}: not a checkpoint of plsc")
            if type(numbers[key]) is not int or numbers[key] < 1:
                raise DamagedFile(f"{self.path / STATE} is damaged: {key!r} is {numbers[key]!r}")
        num_rows, ranks, part_rows = (numbers[key] for key in (count_key, ranks_key, part_key))
        return SavedRows(self.path, stem, num_rows, ranks, part_rows, self.sums)
