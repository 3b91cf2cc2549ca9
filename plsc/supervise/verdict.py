"""Judge which rank failed first, from how all of them ended."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from plsc.supervise.diagnosis import NEVER_CAME, Ending, Outcome, quoted

UNKNOWN_HOST = "unknown"
SETTLING = 3.0
"""Seconds that an earlier failure may take to become visible (a network file system's delay)."""
LINK_SETTLING = 10.0
"""Seconds in which both ends of a broken connection between hosts have noticed it."""
PAIR_RANK = re.compile(r"pair_rank = (\d+)")  # gloo's name for the other end


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
    hint: str = "",
) -> Verdict | None:
    """Return the verdict; None while ranks that could change it are missing, or none failed.

    A trainer whose connection broke, or that waited in vain, ended because of another one. So a
    rank that failed on its own account goes before all, in the order of time; then one that was
    aborted; then, if the rest waited, one that is still alive elsewhere or had ended too early.
    Where none of these is and there are several hosts, the connection between two of them broke.

    Args:
        size: number of ranks.
        endings: by rank.
        alive: ranks without an ending that are known to go on; others are not known about.
        waited: seconds since a failure was first seen here.
        patience: seconds after which the ranks that are not known about are given up.
        hint: what to look at where ranks do not find each other.
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
        if len(endings) < size and waited < SETTLING:
            return None
        if own[0].reason.startswith(NEVER_CAME):
            return _blame_missing(own[0], failures, hint)
        return _blame(own, size)
    if len(endings.keys() | alive.keys()) < size and waited < patience:
        return None
    aborted = [ending for ending in failures if ending.kind is Outcome.ABORTED]
    if aborted:
        return _blame(aborted, size)
    if all(ending.reason.startswith(NEVER_CAME) for ending in failures):
        return _blame_missing(_elsewhere(failures), failures, hint)
    waiting = [ending for ending in failures if ending.kind is Outcome.WAITED]
    if waiting and waited < LINK_SETTLING and _in_one_collective(waiting, alive):
        return None  # on another host a broken connection is noticed at another time
    if alive and waiting:
        return _blame_absent(list(alive.values()))
    early = [ending for ending in endings.values() if ending.kind is Outcome.CLEAN]
    if early and min(ending.time for ending in early) <= failures[0].time:
        return _blame_early(min(early, key=lambda ending: (ending.time, ending.rank)))
    hosts = {rank: ending.host for rank, ending in endings.items()}
    hosts |= {rank: living.host for rank, living in alive.items()}
    if len(set(hosts.values())) > 1:
        return _blame_connection(failures, hosts)
    return _blame(failures, size)


def _in_one_collective(waiting: list[Ending], alive: Mapping[int, Alive]) -> bool:
    """Tell whether a rank of another host is at the very place where others waited in vain."""
    return any(
        rank.phase == ending.phase and rank.host != ending.host
        for rank in alive.values()
        for ending in waiting
    )


def _elsewhere(failures: list[Ending]) -> Ending:
    """Return an ending of another host than the lowest rank's, of another rank if there is none."""
    by_rank = sorted(failures, key=lambda ending: ending.rank)
    others = (ending for ending in by_rank if ending.host != by_rank[0].host)
    return next(others, by_rank[-1])


def _blame_missing(missing: Ending, failures: list[Ending], hint: str) -> Verdict:
    """Name a rank that never came, and whoever is known to have waited for it."""
    waited = [ending for ending in failures if ending.kind is Outcome.WAITED]
    who = min((ending for ending in waited if ending.rank != missing.rank), default=None, key=_rank)
    came = f"rank {missing.rank} never came"
    why = missing.reason.removeprefix(f"{NEVER_CAME}: ")
    if who is not None and missing.kind is Outcome.WAITED:
        came += f" to rank {who.rank}: {missing.host} and {who.host} found no connection"
        why = why.replace("the others", "each other")
    remedy = f"see its own log, or {hint}" if hint else "see its own log"
    line = f"plsc: {came}: {why}: {remedy}; the other ranks stopped because of it"
    return Verdict(missing.rank, line, missing.code or 1)


def _rank(ending: Ending) -> int:
    return ending.rank


def _blame_connection(failures: list[Ending], hosts: Mapping[int, str]) -> Verdict:
    first = failures[0]
    named = PAIR_RANK.search(first.reason)
    other = hosts.get(int(named[1]), first.host) if named else first.host
    if other == first.host:
        others = [item.host for item in failures if item.host != first.host]
        other = next(iter([*others, *(h for h in hosts.values() if h != first.host)]))
    line = (
        f"plsc: connection between {first.host} and {other} lost: rank {first.rank} on host "
        f"{first.host}: {first.reason}; the other ranks stopped because of it"
    )
    return Verdict(first.rank, line, first.code or 1)


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
