"""One run owns a run's folder: a second one is refused, and one that has died is in nobody's way.

`<folder>/.run/owner` names the run's first process. That process holds the lock on the file and
writes to it every few seconds. On one machine the lock decides, which the kernel frees however its
holder ends. From another machine a free lock proves nothing, for NFS may be mounted without: there,
and on file systems without locks, an owner lives for as long as the file changes.
"""

import contextlib
import json
import os
import platform
import secrets
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

from plsc.errors import UserError
from plsc.files.locks import leads_to
from plsc.supervise import shared_files

LAUNCHES = (
    ".run"  # the folder of what concerns processes: the owner, and one folder for each launch
)
OWNER = "owner"
BEAT_INTERVAL = 5.0  # seconds
SILENCE = 60.0
"""Seconds without a change after which an owner on another machine counts as dead."""
RECORD_BYTES = 1024  # always written in one piece, so that a reader never sees half of two


class RunClaim:
    """Context manager: this process, and the ranks that it speaks for, own the folder of a run.

    Args:
        folder: `<output_dir>/<Model.name>`; made if it is not there.

    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._path = folder / LAUNCHES / OWNER
        self._descriptor = -1
        self._record: dict[str, Any] = {}
        self._successor: dict[str, Any] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="owner", daemon=True)
        self._made = [path for path in (folder, *folder.parents) if not path.exists()]

    def __enter__(self) -> "RunClaim":
        """Take the folder over.

        Raises:
            UserError: a living run owns it, or it cannot be written.

        """
        try:
            self._take()
            _remove_dead_launches(self._path.parent)
        except BaseException as error:
            self._let_go()
            if isinstance(error, OSError):
                raise UserError(
                    f"Global.output_dir: {error.filename or self._path} cannot be written: "
                    f"{error.strerror or error}"
                ) from error
            raise
        # A loader's worker that outlives this process must not keep the lock.
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self._close)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if leads_to(self._path, self._descriptor):
                self._path.unlink()
        self._let_go()

    def require(self) -> None:
        """Check that the folder still is this run's, before something in it is changed.

        Raises:
            UserError: another run owns it since this one gave no sign of life for long.

        """
        if self._successor is not None:
            raise UserError(
                f"{self._folder} was taken over by another run ({_who(self._successor)}) while "
                "this one gave no sign of life: this one ends"
            )

    def _take(self) -> None:
        """Open the file, lock it, and write the record once it is this process's to write."""
        locked = None
        while locked is None:
            self._close()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # the owner before removes it just now
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
                locked = self._locked()
        self._record = {
            "token": secrets.token_hex(8),
            "pid": os.getpid(),
            "host": platform.node(),
            "machine": shared_files.machine(),
            "locked": locked,
            "count": 0,
        }
        _write(self._descriptor, self._record)

    def _locked(self) -> bool | None:
        """Return whether the open file is locked now; None where it has left its place.

        Raises:
            UserError: its owner lives.

        """
        try:
            locked = _lock(self._descriptor)
        except BlockingIOError:
            raise self._refusal(_read(self._descriptor)) from None
        if not leads_to(self._path, self._descriptor):
            return None
        other = _read(self._descriptor)
        known_dead = locked and other.get("locked") and other["machine"] == shared_files.machine()
        if other and not known_dead:
            self._wait_for_silence(other)
        return locked if leads_to(self._path, self._descriptor) else None

    def _wait_for_silence(self, other: dict[str, Any]) -> None:
        """Return when the owner of a record that no lock tells of has been silent long enough.

        Raises:
            UserError: it has changed the record.

        """
        age = shared_files.clock_of(self._path.parent) - self._path.stat().st_mtime
        if age >= SILENCE:
            return
        left = min(SILENCE, SILENCE - age)
        print(
            f"plsc: {self._folder} was last used by {_who(other)}: waiting up to {left:.0f} s for "
            "a sign that it lives",
            file=sys.stderr,
            flush=True,
        )
        end = time.monotonic() + left
        while time.monotonic() < end:
            time.sleep(0.5)
            found = self._read_anew()
            if found is None:  # it has ended in order
                return
            if found and found != other:
                raise self._refusal(found)

    def _read_anew(self) -> dict[str, Any] | None:
        """Return the record as a new look finds it, which NFS promises; None where it is gone."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return _read(descriptor)
        finally:
            os.close(descriptor)

    def _refusal(self, other: dict[str, Any]) -> UserError:
        return UserError(
            f"Global.output_dir: {self._folder} belongs to a run that is going on, {_who(other)}: "
            "wait for its end, stop it, or name another Global.output_dir"
        )

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_INTERVAL):
            with contextlib.suppress(OSError):  # a server that is away: what needs it will say so
                found = self._read_anew()
                if found and found["token"] != self._record["token"]:
                    self._successor = found
                    return
                self._record["count"] += 1
                _write(self._descriptor, self._record)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _let_go(self) -> None:
        """Close the file, and remove the folders that were made for it alone."""
        self._close()
        with contextlib.suppress(OSError):  # not empty, as it should be
            self._path.parent.rmdir()
            for made in self._made:
                made.rmdir()


def _remove_dead_launches(folder: Path) -> None:
    """Remove what the supervisors of launches have left that were killed."""
    for launch in folder.iterdir():
        if launch.is_dir() and _is_dead(launch):
            shutil.rmtree(launch, ignore_errors=True)


def _is_dead(launch: Path) -> bool:
    """Tell whether no supervisor of a launch lives: no lock is held, and no record changes."""
    try:
        if not all(shared_files.lock_is_free(path) for path in launch.glob("*.lock")):
            return False
        beats = [shared_files.read(path)[0] for path in launch.glob("*.beat")]
        here = shared_files.machine()
        if beats and all(beat and beat["locked"] and beat["machine"] == here for beat in beats):
            return True
        changed = max(path.stat().st_mtime for path in (launch, *launch.iterdir()))
        return shared_files.clock_of(launch.parent) - changed >= SILENCE
    except OSError:  # it goes by itself just now
        return False


def _who(record: dict[str, Any]) -> str:
    return f"pid {record.get('pid', 'unknown')} on host {record.get('host', 'unknown')}"


def _read(descriptor: int) -> dict[str, Any]:
    """Return the record in an open file; empty where nothing whole is in it."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        found = json.loads(os.read(descriptor, RECORD_BYTES))
    except ValueError:
        return {}
    whole = isinstance(found, dict) and {"token", "pid", "host", "machine", "locked"} <= set(found)
    return found if whole else {}


def _lock(descriptor: int) -> bool:
    """Lock as `shared_files.lock` does, with a second of patience.

    One that is being killed, or has just forked, holds the lock a moment longer, and one that has
    just taken it has yet to write its record.
    """
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            return shared_files.lock(descriptor)
        time.sleep(0.05)
    return shared_files.lock(descriptor)


def _write(descriptor: int, record: dict[str, Any]) -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(record).encode().ljust(RECORD_BYTES))
