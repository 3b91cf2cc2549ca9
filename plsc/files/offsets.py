"""Reads at an offset, and room for what will be written, on systems that lack the calls for them.

Windows has no `pread`; macOS has no `posix_fallocate`.
"""

import os
import threading

_moving = threading.Lock()  # held while the one position of a descriptor is in use


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """Read up to `count` bytes from `offset` on; forked processes may share the descriptor."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    with _moving:  # no forked processes where there is no pread
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, count)


def read_into(descriptor: int, memory: memoryview, offset: int) -> int:
    """Fill bytes from `offset` on into `memory`, as many as the system gives at once."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [memory], offset)
    content = read_at(descriptor, len(memory), offset)
    memory[: len(content)] = content
    return len(content)


def reserve(descriptor: int, offset: int, size: int) -> None:
    """Make a file `offset + size` bytes long; zeros follow what it holds.

    A disk that is too small raises OSError now, not after hours; only without `posix_fallocate` it
    does so when it is written.
    """
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, offset, size)
    else:
        os.ftruncate(descriptor, offset + size)
