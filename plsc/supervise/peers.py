"""The folder that all supervisors of a run share, and what it tells about the other ranks.

`rank-00001.beat` changes every second; `rank-00001.end` is written once, by the rank's supervisor
or by others in its place; `verdict` is written once, by whoever comes to it first. Clocks of nodes
differ, so age is never read from a file: a rank is silent for as long as this process, by its own
monotonic clock, has not seen its beat change.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plsc.supervise import shared_files
from plsc.supervise.diagnosis import NEVER_CAME, Ending, Outcome, quoted
from plsc.supervise.verdict import UNKNOWN_HOST, Alive, Verdict

STALE = 60.0
"""Seconds by which a record is older than this run if an earlier run left it in the folder."""

ALIVE_BEATS = 3
"""Beats after another rank's failure that prove a rank to be alive and not in a collective."""

UNLOCKED_SILENCE = 4.0
"""Seconds of silence, beyond the time between two looks, that make another machine's free lock
believable."""


@dataclass
class Peer:
    """The state of another rank, as far as it is known."""

    rank: int
    beat: dict[str, Any] = field(default_factory=dict)
    silence: float = 0.0
    """Seconds without a new beat."""
    count_at_failure: int | None = None
    """Its beat when the first failure was seen."""
    watched: bool = False
    """Whether a thread waits for its lock."""

    @property
    def host(self) -> str:
        """Its host's name."""
        return str(self.beat.get("host", UNKNOWN_HOST))


class Peers:
    """This rank's window on the others.

    Raises:
        OSError: from every method, if the folder cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        rank: int,
        size: int,
        host: str,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """Have `wake` called, from any thread, when another rank may have ended."""
        self.folder, self.rank, self.size, self.host = folder, rank, size, host
        self.interval = min(5.0, max(1.0, size / 16))  # each rank reads all: bounds the total
        self.endings: dict[int, Ending] = {}
        self.others = {other: Peer(other) for other in range(size) if other != rank}
        self._wake = wake
        self._machine = shared_files.machine()
        self._count = 0
        self._lock: int | None = None
        self._started = 0.0
        self._until_reading = 0.0

    def open(self) -> None:
        """Create the folder, remove what an earlier run of this rank left, take the lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (f"{_stem(self.rank)}.end", f"{_stem(self.rank)}.beat"):
            (self.folder / name).unlink(missing_ok=True)
        self._lock = shared_files.take_lock(self.folder / f"{_stem(self.rank)}.lock")
        self.beat("starting", None, 0.0)
        self._started = (self.folder / f"{_stem(self.rank)}.beat").stat().st_mtime

    def beat(self, phase: str, position: float | None, since: float) -> None:
        """Tell the others that this rank lives and what it has been at for `since` seconds."""
        self._count += 1
        content = {
            "rank": self.rank,
            "host": self.host,
            "machine": self._machine,
            "pid": os.getpid(),
            "locked": self._lock is not None,
            "log": shared_files.error_log(),
            "count": self._count,
            "phase": phase,
            "position": position,
            "since": since,
        }
        path = self.folder / f"{_stem(self.rank)}.beat"
        shared_files.replace(path, content)

    def read_beats(self, elapsed: float) -> None:
        """Read the others' beats if it is time; `elapsed` seconds have passed since the last call.

        Not to be called for a time in which this rank could not use the folder: the others'
        silence would be its own.
        """
        for peer in self.others.values():
            peer.silence += elapsed
        self._until_reading -= elapsed
        if self._until_reading > 0:
            return
        self._until_reading = self.interval
        for peer in self.others.values():
            beat = self._read(f"{_stem(peer.rank)}.beat")
            if beat and beat["count"] != peer.beat.get("count"):
                peer.beat, peer.silence = beat, 0.0
            if not peer.watched and peer.beat.get("locked") and self.is_local(peer.rank):
                peer.watched = True
                shared_files.when_lock_is_free(self.folder / f"{_stem(peer.rank)}.lock", self._wake)

    def read_endings(self) -> None:
        """Read the endings that have appeared since the last call."""
        try:
            names = {entry.name for entry in os.scandir(self.folder)}
        except FileNotFoundError:  # the last to leave has removed it
            return
        for rank in range(self.size):
            name = f"{_stem(rank)}.end"
            if rank not in self.endings and name in names:
                content = self._read(name)
                if content:
                    self.endings[rank] = Ending(**{**content, "kind": Outcome(content["kind"])})
        if self.failed:
            for peer in self.others.values():
                if peer.count_at_failure is None:
                    peer.count_at_failure = peer.beat.get("count")

    @property
    def failed(self) -> bool:
        """Tell whether a rank has ended otherwise than normally."""
        return any(ending.kind is not Outcome.CLEAN for ending in self.endings.values())

    def alive(self) -> dict[int, Alive]:
        """Return ranks without an ending that have gone on for seconds after the first failure."""
        return {
            peer.rank: Alive(
                peer.rank,
                peer.host,
                phase=peer.beat["phase"],
                position=peer.beat["position"],
                since=peer.beat["since"],
            )
            for peer in self.others.values()
            if peer.rank not in self.endings
            and peer.count_at_failure is not None
            and peer.beat["count"] >= peer.count_at_failure + ALIVE_BEATS
        }

    def end(self, ending: Ending) -> None:
        """Record how a rank ended, unless that has been recorded."""
        path = self.folder / f"{_stem(ending.rank)}.end"
        if shared_files.write_once(path, dataclasses.asdict(ending)):
            # Not read back: a network file system may show it to its writer late, too.
            self.endings[ending.rank] = dataclasses.replace(ending, time=path.stat().st_mtime)
        else:
            self.read_endings()

    def is_local(self, rank: int) -> bool:
        """Tell whether a rank is known to run on this machine."""
        return rank == self.rank or self.others[rank].beat.get("machine") == self._machine

    def find_lost(self, timeout: float, absence: float) -> None:
        """Record an ending for ranks whose supervisor is gone without one.

        The kernel frees a dead process's lock at once, which is certain on this machine; over
        a network the lock may be a fiction of the mount, so silence must come to it.
        """
        for peer in self.others.values():
            if peer.rank in self.endings:
                continue
            reason = self._why_lost(peer, timeout, absence)
            if reason:
                # Read once more: it may have written its record before it ended.
                self.read_endings()
                if peer.rank not in self.endings:
                    self.end(Ending(peer.rank, peer.host, Outcome.LOST, 137, reason))

    def publish(self, verdict: Verdict) -> Verdict:
        """Make the verdict known; the one that holds is the first that was published."""
        if not shared_files.write_once(self.folder / "verdict", dataclasses.asdict(verdict)):
            return self.verdict() or verdict
        for peer in self.others.values():
            lost = peer.rank in self.endings and self.endings[peer.rank].kind is Outcome.LOST
            log = peer.beat.get("log")
            # The launcher shows the end of the dead rank's log, which nobody else completes.
            if lost and log and self.is_local(peer.rank):
                with contextlib.suppress(OSError), open(log, "a") as file:
                    file.write(verdict.line + "\n")
        return verdict

    def verdict(self) -> Verdict | None:
        """Return the published verdict, if there is one."""
        content = self._read("verdict")
        return Verdict(**content) if content else None

    def leave(self) -> None:
        """End this rank's part; the last to leave removes the folder."""
        if self._lock is not None:
            os.close(self._lock)  # a network file system keeps an open file under another name
            self._lock = None
        (self.folder / f"{_stem(self.rank)}.beat").unlink(missing_ok=True)
        files = list(self.folder.iterdir())
        present = [path for path in files if path.suffix == ".beat"]
        # A rank that was given up for its silence may come back: it must find the verdict.
        if all(shared_files.lock_is_free(path.with_suffix(".lock")) for path in present):
            for path in files:
                path.unlink(missing_ok=True)
            self.folder.rmdir()

    def _why_lost(self, peer: Peer, timeout: float, absence: float) -> str:
        if not peer.beat:
            gone = peer.silence >= absence
            return f"{NEVER_CAME}: no sign of it within {peer.silence:.0f} s" if gone else ""
        phase = quoted(peer.beat["phase"])
        believed = self.is_local(peer.rank) or peer.silence >= UNLOCKED_SILENCE + self.interval
        if peer.beat["locked"] and believed:
            lock = self.folder / f"{_stem(peer.rank)}.lock"
            if shared_files.lock_is_free(lock):
                return f"its processes were killed (supervisor {peer.beat['pid']}; {phase})"
        if peer.silence >= timeout:
            link = f"connection between {self.host} and {peer.host} lost, or {peer.host} down; "
            link = "" if self.is_local(peer.rank) else link
            return f"no sign of life from its host for {peer.silence:.0f} s ({link}{phase})"
        return ""

    def _read(self, name: str) -> dict[str, Any] | None:
        """Return a record of this run; its entry "time", if there is one, is the file's time."""
        content, changed = shared_files.read(self.folder / name)
        if content is None or changed < self._started - STALE:
            return None
        return {**content, "time": changed} if "time" in content else content


def _stem(rank: int) -> str:
    return f"rank-{rank:05d}"
