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

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from plsc.distributed import world
from plsc.distributed.collectives import barrier
from plsc.distributed.sharding import ClassShard
from plsc.errors import UserError

BACKBONE = "backbone.safetensors"
BACKBONE_OPTIMIZER = "backbone-optimizer.safetensors"
STATE = "state.json"
POINTERS = ("latest", "best_model")
POLL_SECONDS = 0.05


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

    Rank 0 writes what is replicated. Ranks wait for each other by looking at the file system, not
    in a collective: gloo gives up after half a minute, and a large head takes longer to write.

    Args:
        root: folder of this model's checkpoints, the same folder on every node.
        name: name of the checkpoint; an older one of that name is replaced.
        backbone: state dict.
        backbone_optimizer: optimizer state of the backbone.
        head: `weight` and optimizer state, [num_local, d] each.
        state: anything JSON can hold; `num_classes` is needed to read the head again.

    """
    place = world.current()
    final, partial = root / name, root / f".{name}.partial"
    if place.is_main:
        root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
    barrier()
    _write_arrays(partial / head_file(place.rank, place.size), head)
    if not place.is_main:
        while partial.exists():
            time.sleep(POLL_SECONDS)
        return final
    _write_arrays(partial / BACKBONE, backbone)
    _write_arrays(partial / BACKBONE_OPTIMIZER, backbone_optimizer)
    text = json.dumps({**state, "head_shards": place.size}, indent=1, sort_keys=True)
    (partial / STATE).write_text(text + "\n", encoding="utf-8")
    _sync(partial / STATE)
    while any(not (partial / head_file(rank, place.size)).exists() for rank in range(place.size)):
        time.sleep(POLL_SECONDS)
    _sync(partial)
    _make_way(root, final)
    partial.rename(final)
    _sync(root)
    return final


def _make_way(root: Path, final: Path) -> None:
    """Remove an earlier checkpoint of the same name; pointers to it go on to what it was."""
    if not final.exists():
        return
    kept = root / f"{final.name}.earlier"
    shutil.rmtree(kept, ignore_errors=True)
    pointed = [pointer for pointer in POINTERS if _target(root / pointer) == final.name]
    if pointed:
        shutil.copytree(final, kept, copy_function=os.link)
        for pointer in pointed:
            point(root, pointer, kept.name)
    shutil.rmtree(final)


def _target(pointer: Path) -> str | None:
    return os.readlink(pointer) if pointer.is_symlink() else None


def point(root: Path, pointer: str, name: str) -> None:
    """Let `<root>/<pointer>` mean `<root>/<name>` from one instant to the next."""
    beside = root / f".{pointer}.partial"
    beside.unlink(missing_ok=True)
    beside.symlink_to(name)
    os.replace(beside, root / pointer)
    _sync(root)


def retain(root: Path, *, newest: int) -> None:
    """Remove checkpoints that no pointer names, but for the `newest` ones (negative: keep all).

    Called between saves; what killed processes left half written or half removed goes too.
    """
    for left in [*root.glob(".*.partial"), *root.glob(".*.removed")]:
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
    if newest < 0:
        return
    named = {_target(root / pointer) for pointer in POINTERS}
    found = [path for path in root.iterdir() if not path.is_symlink() and (path / STATE).exists()]
    found = [path for path in found if not path.name.startswith(".")]
    found.sort(key=lambda path: (path / STATE).stat().st_mtime_ns, reverse=True)
    for path in found[newest:]:
        if path.name not in named:
            # Renamed first: a removal that is cut short leaves nothing that looks whole.
            doomed = path.rename(root / f".{path.name}.removed")
            shutil.rmtree(doomed)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk, opened for reading.

    Raises:
        UserError: the folder is not there or not a checkpoint.

    """

    path: Path

    def __post_init__(self) -> None:
        if not (self.path / STATE).is_file():
            what = "is not a checkpoint of plsc" if self.path.is_dir() else "does not exist"
            raise UserError(f"checkpoint {self.path} {what} (a folder that holds {STATE})")

    @property
    def state(self) -> dict[str, Any]:
        """What `save` was given as `state`, and `head_shards`."""
        try:
            return json.loads((self.path / STATE).read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise UserError(f"{self.path / STATE} is damaged: {error}") from error

    def backbone(self) -> dict[str, np.ndarray]:
        """State dict of the backbone."""
        return self._load(BACKBONE)

    def backbone_optimizer(self) -> dict[str, np.ndarray]:
        """Optimizer state of the backbone."""
        return self._load(BACKBONE_OPTIMIZER)

    def head(self, name: str, start: int, stop: int) -> np.ndarray | None:
        """Rows start..stop (global classes) of tensor `name`, whatever shards they lie in."""
        state = self.state
        shards, parts = int(state["head_shards"]), []
        for rank in range(shards):
            shard = ClassShard(int(state["num_classes"]), rank, shards)
            low, high = max(start, shard.start), min(stop, shard.stop)
            if low >= high:
                continue
            with self._open(head_file(rank, shards)) as file:
                if name not in file.keys():  # noqa: SIM118 (a safetensors file is no dict)
                    return None
                parts.append(file.get_slice(name)[low - shard.start : high - shard.start])
        return np.concatenate(parts) if parts else None

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
