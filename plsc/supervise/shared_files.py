"""Small files that several machines write and read: whole or absent, once or replaced; locks."""

import contextlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plsc.files.atomic import sync, write_text


def replace(path: Path, content: dict[str, Any]) -> None:
    """Write a record in place of the last one. Not synced: it is worth nothing after a crash."""
    write_text(path, json.dumps(content), partial=_beside(path), synced=False)


def write_once(path: Path, content: dict[str, Any]) -> bool:
    """Write a record unless it exists; whether this call wrote it."""
    beside = _beside(path)
    try:
        beside.write_text(json.dumps(content), encoding="utf-8")
        sync(beside)
        os.link(beside, path)
        return True
    except FileExistsError:
        return False
    finally:
        beside.unlink(missing_ok=True)


def read(path: Path) -> tuple[dict[str, Any] | None, float]:
    """Return a record and when it was written, by the file server's clock; None if not whole.

    One that is not whole is what a machine's crash has left.
    """
    try:
        with open(path) as file:
            return json.load(file), os.fstat(file.fileno()).st_mtime
    except (FileNotFoundError, json.JSONDecodeError):
        return None, 0.0


def take_lock(path: Path) -> int | None:
    """Hold a lock on `path` until this process ends; None where the file system has none."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if lock(descriptor):
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def lock(descriptor: int) -> bool:
    """Lock an open file for as long as it is open; False where the file system has no locks.

    Raises:
        BlockingIOError: another process holds the lock.

    """
    try:
        import fcntl  # absent on Windows, where one-process runs import this module too

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):
        return False
    return True


def lock_is_free(path: Path) -> bool:
    """Tell whether nobody holds the lock on an existing `path`."""
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def when_lock_is_free(path: Path, tell: Callable[[], None]) -> None:
    """Have a thread call `tell` once the lock on `path` is free or cannot be asked for.

    The kernel tells at once that a process of this machine has died, which polling would not.
    """
    import fcntl

    def wait() -> None:
        # What `tell` leads to looks at the state of the folder: an error needs no other handling.
        with contextlib.suppress(OSError), open(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        tell()

    threading.Thread(target=wait, name=f"lock of {path.stem}", daemon=True).start()


def clock_of(folder: Path) -> float:
    """Return the time by the clock of the file server that keeps `folder`."""
    token = _beside(folder / "clock")
    try:
        token.touch()
        return token.stat().st_mtime
    finally:
        token.unlink(missing_ok=True)


def machine() -> str:
    """Return a text that no other machine has, whatever its host name; on Linux, this boot's id."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else os.uname().nodename


def error_log() -> str | None:
    """Return the file that this process's standard error goes to, if the system tells it."""
    link = Path("/proc/self/fd/2")
    target = os.readlink(link) if link.exists() else ""
    return target if os.path.isfile(target) else None


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}")
