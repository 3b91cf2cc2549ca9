"""The folder of a model's checkpoints: what its pointers mean, what is whole, what goes."""

import contextlib
import os
import shutil
from pathlib import Path

from plsc.checkpoint.folder import BACKBONE, STATE, Checkpoint
from plsc.errors import DamagedFile, UserError
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


def unused_name(root: Path, name: str) -> str:
    """Return `name`, or `<name>-2` and so on where that is taken in `root`."""
    unused, number = name, 1
    while os.path.lexists(root / unused):
        number += 1
        unused = f"{name}-{number}"
    return unused


def newest_first(root: Path, latest: str) -> list[Path]:
    """Return where a run in `root` may be resumed from: what `latest` means, then by age.

    Whatever looks as if it had been a checkpoint is named, damaged or not. The list is empty where
    no run has saved anything.
    """
    if not root.is_dir():
        return []
    found = [
        path
        for path in root.iterdir()
        if not path.is_symlink()
        and not path.name.startswith(".")
        and ((path / STATE).is_file() or (path / BACKBONE).is_file())
    ]
    found.sort(key=_written, reverse=True)
    meant = root / (target(root / latest) or latest)
    if meant not in found and not os.path.lexists(root / latest):
        return found
    return [meant, *(path for path in found if path != meant)]


def _written(path: Path) -> float:
    try:
        return Checkpoint(path).saved_at
    except UserError:
        return path.stat().st_mtime


def adopt(root: Path, pointer: str) -> str:
    """Make a link again of a pointer that copying has turned into a folder or a file.

    Returns:
        what was done, as a sentence; empty where nothing was to be done.

    Raises:
        UserError: the system refuses.

    """
    path = root / pointer
    if path.is_symlink() or not path.exists():
        return ""
    try:
        if path.is_file() and (named := _name_in(path)) and (root / named / STATE).is_file():
            point(root, pointer, named)
            return f"{path} held the name of a checkpoint: it is a link to {named} again"
        name = unused_name(root, _own_name(path) or f"{pointer}-damaged")
        path.rename(root / name)
        if name.startswith(f"{pointer}-damaged"):
            return f"WARNING: {path} was no checkpoint: it is called {name} now"
        point(root, pointer, name)
    except OSError as error:
        raise UserError(
            f"{path} should be a link to a checkpoint, and cannot be made one: {error.strerror}"
        ) from error
    return f"{path} was a copy of a checkpoint: it is called {name} now, and {pointer} is a link"


def _own_name(path: Path) -> str:
    """Return what the checkpoint at `path` was called before it was copied; empty if it is none."""
    try:
        state = Checkpoint(path).state
    except DamagedFile:
        return ""
    return f"step_{state['step']}" if state["consumed"] else f"epoch_{state['epoch']}"


def _name_in(path: Path) -> str:
    """Return the name that a file holds in place of a link; empty where it holds none."""
    try:
        text = path.read_text(encoding="utf-8").strip() if path.stat().st_size < 256 else ""
    except ValueError:
        return ""
    return text if text == Path(text).name else ""
