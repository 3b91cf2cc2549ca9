"""Checkpoints: directories that appear whole or not at all. The only writer of training state.

    <root>/epoch_3/                        one checkpoint
        backbone.safetensors               state dict of the backbone (PLSC's keys)
        backbone-optimizer.safetensors     `<state name>/<key>`
        head-00000-of-00002.safetensors    rows of one rank: `weight` and the optimizer state
        state.json                         where training stands, and the resolved config
    <root>/latest -> epoch_3               replaced atomically, after the directory is there
    <root>/best_model -> epoch_2

A checkpoint is written as `.<name>.partial`, synced and renamed.
"""

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from plsc.distributed import world
from plsc.distributed.collectives import agree, gather_objects
from plsc.distributed.sharding import ClassShard
from plsc.errors import UserError

BACKBONE = "backbone.safetensors"
BACKBONE_OPTIMIZER = "backbone-optimizer.safetensors"
STATE = "state.json"
REQUIRED = (
    *("run", "step", "epoch", "consumed", "best_metric", "num_images", "global_batch"),
    *("num_classes", "head_shards", "scaler"),
)
POLL_SECONDS = 0.05
BLOCK_BYTES = 64 * 2**20  # safetensors holds the interpreter's lock while it reads


def head_file(rank: int, size: int) -> str:
    """Name of the file with rank `rank`'s rows."""
    return f"head-{rank:05d}-of-{size:05d}.safetensors"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    partial = path.with_name(path.name + ".partial")
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, partial)
    # safetensors creates files that only their owner can read, whatever the umask says.
    partial.chmod(0o666 & ~_umask())
    _sync(partial)
    os.replace(partial, path)


def save(
    root: Path,
    name: str,
    *,
    backbone: Mapping[str, np.ndarray],
    backbone_optimizer: Mapping[str, np.ndarray],
    head: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
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
        head: `weight` and optimizer state, [num_local, d] each.
        state: anything JSON can hold, the REQUIRED keys among it.

    Raises:
        UserError: a rank could not write.

    """
    place = world.current()
    final, partial = root / name, root / f".{name}.partial"
    files = {head_file(place.rank, place.size): head}
    if place.is_main:
        files |= {BACKBONE: backbone, BACKBONE_OPTIMIZER: backbone_optimizer}
    text = json.dumps({**state, "head_shards": place.size}, indent=1, sort_keys=True)
    failures: list[str] = []
    if place.is_main:
        _attempt(failures, _make_empty, partial)
    _raise_any(failures, final)
    writer = threading.Thread(target=_attempt, args=(failures, _write_files, partial, files))
    writer.start()
    while agree(writer.is_alive()):
        time.sleep(POLL_SECONDS)
    _raise_any(failures, final)
    if place.is_main:
        _attempt(failures, _finish, partial, final, text + "\n")
    _raise_any(failures, final)
    return final


def _attempt(failures: list[str], action: Callable[..., None], *arguments: Any) -> None:
    """Do it; what prevents it goes to `failures`, for all ranks to hear of."""
    try:
        action(*arguments)
    except (OSError, SafetensorError) as error:
        place = world.current()
        failures.append(f"rank {place.rank} on {place.host}: {error}")


def _raise_any(failures: list[str], final: Path) -> None:
    """Raise on every rank what failed on any; a barrier too."""
    found = [text for texts in gather_objects(failures) for text in texts]
    if found:
        raise UserError(f"checkpoint {final} could not be written: {'; '.join(found)}")


def _make_empty(partial: Path) -> None:
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()


def _write_files(folder: Path, files: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    for name, arrays in files.items():
        _write_arrays(folder / name, arrays)


def _finish(partial: Path, final: Path, state: str) -> None:
    (partial / STATE).write_text(state, encoding="utf-8")
    _sync(partial / STATE)
    _sync(partial)
    partial.rename(final)
    _sync(final.parent)


def target(pointer: Path) -> str | None:
    """Name of the checkpoint that a pointer names; None where there is no pointer."""
    return os.readlink(pointer) if pointer.is_symlink() else None


def point(root: Path, pointer: str, name: str) -> None:
    """Let `<root>/<pointer>` mean `<root>/<name>` from one instant to the next."""
    beside = root / f".{pointer}.partial"
    beside.unlink(missing_ok=True)
    beside.symlink_to(name)
    os.replace(beside, root / pointer)
    _sync(root)


def sweep(root: Path) -> None:
    """Remove what killed processes left half written or half removed; not while one is written."""
    for left in [*root.glob(".*.partial"), *root.glob(".*.removed")]:
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)


def remove(path: Path) -> None:
    """Remove a checkpoint; cut short, it leaves nothing that looks whole."""
    shutil.rmtree(path.rename(path.with_name(f".{path.name}.removed")))


def checkpoints_in(root: Path) -> "list[Checkpoint]":
    """All whole checkpoints directly in `root`, pointers aside."""
    found = []
    for path in root.iterdir():
        if not path.is_symlink() and not path.name.startswith(".") and (path / STATE).is_file():
            with contextlib.suppress(UserError):  # damaged: it must not end a run that is sound
                found.append(Checkpoint(path))
    return found


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk, opened for reading.

    Attributes:
        path: its folder.
        state: what `save` was given as `state`, and `head_shards`.

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
        return self._load(BACKBONE)

    def backbone_optimizer(self) -> dict[str, np.ndarray]:
        """Optimizer state of the backbone."""
        return self._load(BACKBONE_OPTIMIZER)

    def head(self, name: str, start: int, stop: int) -> np.ndarray | None:
        """Rows start..stop (global classes) of tensor `name`, whatever shards they lie in."""
        shards, rows = int(self.state["head_shards"]), None
        for rank in range(shards):
            shard = ClassShard(int(self.state["num_classes"]), rank, shards)
            low, high = max(start, shard.start), min(stop, shard.stop)
            if low >= high:
                continue
            with self._open(head_file(rank, shards)) as file:
                if name not in file.keys():  # noqa: SIM118 (a safetensors file is no dict)
                    return None
                stored = file.get_slice(name)
                if rows is None:
                    rows = np.empty((stop - start, stored.get_shape()[1]), np.float32)
                step = max(1, BLOCK_BYTES // (4 * rows.shape[1]))
                for first in range(low, high, step):
                    last = min(first + step, high)
                    block = stored[first - shard.start : last - shard.start]
                    rows[first - start : last - start] = block
        return rows

    def _load(self, name: str) -> dict[str, np.ndarray]:
        try:
            return load_file(self.path / name)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{self.path / name} cannot be read: {error}") from error

    def _open(self, name: str) -> Any:
        try:
            return safe_open(self.path / name, framework="numpy")
        except (OSError, SafetensorError) as error:
            raise UserError(f"{self.path / name} cannot be read: {error}") from error
