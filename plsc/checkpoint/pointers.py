"""The folder of a model's checkpoints: what its pointers mean, what is whole, what goes."""

import contextlib
import os
import shutil
from pathlib import Path

from plsc.checkpoint.folder import STATE, Checkpoint
from plsc.errors import UserError
from plsc.files.atomic import replacing, sync


def target(pointer: Path) -> str | None:
    """Return the name of the checkpoint that a pointer means; None where there is no pointer."""
    return os.readlink(pointer) if pointer.is_symlink() else None


def point(root: Path, pointer: str, name: str) -> None:
    """Let `<root>/<pointer>` mean `<root>/<name>` from one instant to the next."""
    with replacing(root / pointer, synced=False) as beside:  # nothing but a name
        beside.unlink(missing_ok=True)
        beside.symlink_to(name)
    sync(root)


def sweep(root: Path) -> None:
    """Remove what killed processes left half written or half removed; not while one is written."""
    for left in [*root.glob(".*.partial"), *root.glob(".*.removed")]:
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)


def remove(path: Path) -> None:
    """Remove a checkpoint; cut short, it leaves nothing that looks whole."""
    shutil.rmtree(path.rename(path.with_name(f".{path.name}.removed")))


def checkpoints_in(root: Path) -> list[Checkpoint]:
    """Return all whole checkpoints directly in `root`, pointers aside."""
    found = []
    for path in root.iterdir():
        if not path.is_symlink() and not path.name.startswith(".") and (path / STATE).is_file():
            with contextlib.suppress(UserError):  # damaged: it must not end a run that is sound
                found.append(Checkpoint(path))
    return found
