"""Judge which rank failed first, from how all of them ended."""

from collections.abc import Mapping
from dataclasses import dataclass

from plsc.supervise.diagnosis import Ending, Outcome, quoted

UNKNOWN_HOST = "unknown"
SETTLING = 3.0
"""Seconds that an earlier failure may take to become visible (a network file system's delay)."""


@dataclass(frozen=True)
class Verdict:
    """The rank that failed first, the line that says so, and the run's exit status."""

    rank: int
    line: str
    code: int


@dataclass(frozen=True)
class Alive:
    """A rank that goes on well after another's end: its main thread is not in a collective."""

    rank: int
    host: str
    phase: str
    position: float | None
    since: float
    """Seconds for which the phase has not changed."""


def judge(
    size: int,
    endings: Mapping[int, Ending],
    alive: Mapping[int, Alive],
    *,
    waited: float,
    patience: float,
) -> Verdict | None:
    """Return the verdict; None while ranks that could change it are missing, or none failed.

    A trainer whose connection broke, or that waited in vain, ended because of another one. So a
    rank that failed on its own account goes before all, in the order of time; then one that was
    aborted; then, if the rest waited, one that is still alive elsewhere or had ended too early.

    Args:
        size: number of ranks.
        endings: by rank.
        alive: ranks without an ending that are known to go on; others are not known about.
        waited: seconds since a failure was first seen here.
        patience: seconds after which the ranks that are not known about are given up.
    """
    failures = sorted(
        (
            ending
            for ending in endings.values()
            if ending.kind not in (Outcome.CLEAN, Outcome.STOPPED)
        ),
        key=lambda ending: (ending.time, ending.rank),
    )
    if not failures:
        return None
    own = [ending for ending in failures if ending.kind in (Outcome.FAILED, Outcome.LOST)]
    if own:
        return _blame(own, size) if len(endings) == size or waited >= SETTLING else None
    if len(endings.keys() | alive.keys()) < size and waited < patience:
        return None
    aborted = [ending for ending in failures if ending.kind is Outcome.ABORTED]
    if aborted:
        return _blame(aborted, size)
    if alive and any(ending.kind is Outcome.WAITED for ending in failures):
        return _blame_absent(list(alive.values()))
    early = [ending for ending in endings.values() if ending.kind is Outcome.CLEAN]
    if early and min(ending.time for ending in early) <= failures[0].time:
        return _blame_early(min(early, key=lambda ending: (ending.time, ending.rank)))
    return _blame(failures, size)


def _blame(failures: list[Ending], size: int) -> Verdict:
    first = failures[0]
    who = f"rank {first.rank} on host {first.host}"
    if len(failures) == size and len({ending.reason for ending in failures}) == 1:
        line = f"plsc: {who} failed first: {first.reason}; all {size} ranks ended alike"
    else:
        line = f"plsc: {who} failed first: {first.reason}; the other ranks stopped because of it"
    return Verdict(first.rank, line, first.code or 1)


def _blame_absent(alive: list[Alive]) -> Verdict:
    def order(rank: Alive) -> tuple[float, float, int]:
        position = float("inf") if rank.position is None else rank.position
        return position, -rank.since, rank.rank

    first = min(alive, key=order)
    line = (
        f"plsc: rank {first.rank} on host {first.host} failed first: the others waited for it in a "
        f"collective operation while it was elsewhere ({quoted(first.phase)}, for "
        f"{first.since:.0f} s); the other ranks stopped because of it"
    )
    return Verdict(first.rank, line, 1)


def _blame_early(first: Ending) -> Verdict:
    line = (
        f"plsc: rank {first.rank} on host {first.host} failed first: it {first.reason} while the "
        "others went on; the other ranks stopped because of it"
    )
    return Verdict(first.rank, line, 1)
