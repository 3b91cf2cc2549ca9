"""Locks on files and folders, which the system lets go of when their process ends, however it ends.

Windows has no such locks: there nothing keeps two processes from the same work.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]


@contextmanager
def only_holder(path: Path) -> Iterator[None]:
    """Hold the lock on an existing file or folder.

    Raises:
        BlockingIOError: another process holds it.

    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def next_holder(path: Path) -> Iterator[None]:
    """Wait for the lock on a file that is made for it, and removed by whoever held it."""
    while fcntl is not None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # The holder before may have removed the file that was waited for.
            if not leads_to(path, descriptor):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)
    yield


def leads_to(path: Path, descriptor: int) -> bool:
    """Tell whether `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
