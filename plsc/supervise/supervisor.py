"""The loop of a rank's supervisor: watch the trainer and the other ranks, stop, report."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from plsc.errors import UserError
from plsc.supervise.child_process import TrainerProcess
from plsc.supervise.diagnosis import NEVER_CAME, Ending, Outcome, diagnose, shell_status
from plsc.supervise.peers import Peers
from plsc.supervise.stop_requests import StopRequests
from plsc.supervise.verdict import SETTLING, Verdict, judge
from plsc.supervise.watch import HangWatch, Limits

TICK = 0.25  # seconds
BEAT_INTERVAL = 1.0

OWN_END = 1.0
STOP_GRACE = 2.0
"""A trainer whose run has failed elsewhere has OWN_END seconds to end by itself, as one with a
broken connection or the same mistake does, then STOP_GRACE seconds from SIGTERM to SIGKILL: with
a rank missing it can save nothing."""


def supervise(
    command: Sequence[str],
    *,
    folder: Path,
    rank: int,
    size: int,
    host: str,
    heartbeat_timeout: float = 20.0,
    startup_timeout: float = 120.0,
    stall_timeout: float = 45.0,
    absence_timeout: float = 40.0,
    joining_timeout: float = 40.0,
    hint: str = "",
) -> int:
    """Run one rank's trainer to its end; return the exit status for this process.

    Takes over the signals of this process for good: call it last. SIGTERM and SIGINT go to the
    trainer, which then has all the time it needs. When any rank fails, all trainers are stopped;
    every supervisor prints the same line about the rank that failed first, as the last thing in
    its log, and returns that rank's status.

    Args:
        command: the trainer; it finds the environment variable `SUPERVISED` set.
        folder: made here, on a file system that all nodes share, for this launch alone; the last
            rank to end removes it.
        rank: of this process.
        size: number of ranks.
        host: name to report.
        heartbeat_timeout: seconds without a sign of life after which a trainer, or another rank's
            supervisor, counts as hung.
        startup_timeout: the same for a trainer before its first phase, or while it joins.
        stall_timeout: seconds for which a trainer may stay behind another's position.
        absence_timeout: seconds after which a rank that has not appeared never came.
        joining_timeout: seconds in which ranks that all wait for each other must have joined.
        hint: what to look at where ranks do not find each other.

    Raises:
        UserError: if `folder` cannot be written.
    """
    if os.name != "posix":
        raise UserError(f"a run of {size} processes needs Linux or macOS; run one process here")
    requests = StopRequests()
    peers = Peers(folder, rank=rank, size=size, host=host, wake=requests.wake)
    try:
        peers.open()
    except OSError as error:
        raise UserError(
            f"cannot write {folder} ({error.strerror}); Global.output_dir must be on a file "
            "system that all nodes share and may write"
        ) from None
    limits = Limits(
        heartbeat_timeout, startup_timeout, stall_timeout, absence_timeout, joining_timeout
    )
    return Supervisor(command, peers, limits, requests, hint=hint).run()


class Supervisor:
    """One rank's trainer, its peers, and the time that has passed for each."""

    def __init__(
        self,
        command: Sequence[str],
        peers: Peers,
        limits: Limits,
        requests: StopRequests,
        *,
        hint: str = "",
    ) -> None:
        self.peers, self.limits, self._requests, self._hint = peers, limits, requests, hint
        self._trainer = TrainerProcess(command)
        self._watch = HangWatch(self._trainer, limits)
        self._ending: Ending | None = None
        self._verdict: Verdict | None = None
        self._until_beat = 0.0
        self._failed_for = self._failing_for = self._told_for = 0.0
        self._stopped = self._unreachable = self._told = False

    def run(self) -> int:
        """Watch until the trainer has ended and it is known why; return the exit status."""
        before = time.monotonic()
        while True:
            self._requests.sleep(TICK)
            now = time.monotonic()
            # Time in which this process was stopped itself says nothing about the others.
            elapsed, before = min(now - before, 2 * TICK), now
            if self._ending is None:
                for number in self._requests.new(elapsed):
                    self._trainer.signal(number)
                self._watch.listen(elapsed, self.peers.others.values(), self.peers.endings)
                self._ending = self._watch_trainer()
            self._exchange(elapsed)
            if self._ending is None:
                self._stop_if_failed_elsewhere(elapsed)
                continue
            status = self._conclude(elapsed)
            if status is not None:
                self._requests.close()
                return status

    def _watch_trainer(self) -> Ending | None:
        """Return how the trainer ended, if it has; one that hangs is killed."""
        trainer = self._trainer
        code = trainer.poll()
        if code is not None:
            kind, reason = diagnose(
                code,
                said=trainer.said,
                tail=trainer.tail,
                phase=trainer.phase,
                interrupted=self._requests.heard,
            )
            if self._stopped:
                kind = Outcome.STOPPED
            return self._end(kind, shell_status(code), reason)
        if self._watch.apart():
            kept = f"waited {self._watch.joining:.0f} s for the others to join"
            return self._end(Outcome.WAITED, shell_status(trainer.kill()), f"{NEVER_CAME}: {kept}")
        hang = self._watch.hang()
        if hang is None:
            return None
        trainer.show_stacks()
        return self._end(Outcome.FAILED, shell_status(trainer.kill()), hang)

    def _end(self, kind: Outcome, code: int, reason: str) -> Ending:
        peers = self.peers
        ending = Ending(peers.rank, peers.host, kind, code, reason, phase=self._trainer.phase)
        try:
            peers.end(ending)
        except OSError as error:
            self._complain(error)
        peers.endings.setdefault(peers.rank, ending)
        return ending

    def _exchange(self, elapsed: float) -> None:
        """Tell the others about this rank and hear about them."""
        peers, trainer = self.peers, self._trainer
        try:
            self._until_beat -= elapsed
            if self._until_beat <= 0:
                peers.beat(trainer.phase, trainer.position, self._watch.unchanged)
                self._until_beat = BEAT_INTERVAL
            peers.read_endings()
            peers.read_beats(0.0 if self._unreachable else elapsed)
            peers.find_lost(self.limits.heartbeat, self.limits.absence)
            if peers.failed and self._verdict is None:
                self._verdict = peers.verdict()
            self._unreachable = False
        except OSError as error:
            self._complain(error)
        self._failed_for += elapsed if peers.failed else 0.0

    def _stop_if_failed_elsewhere(self, elapsed: float) -> None:
        peers, trainer = self.peers, self._trainer
        causes = [e for e in peers.endings.values() if e.kind in (Outcome.FAILED, Outcome.LOST)]
        if not causes and self._verdict is None:
            return
        if any(ending.kind is Outcome.LOST and peers.is_local(ending.rank) for ending in causes):
            # The launcher sees a dead supervisor within a second, shows that rank's log, and kills
            # the other supervisors 3.6 s later.
            if self._verdict is None:
                self._decide(waited=SETTLING)
            self._stopped = True
            trainer.kill()
            return
        if self._verdict is not None and self._verdict.rank == peers.rank:
            self._stopped = True  # it hangs: what it hangs in is worth more than a clean end
            trainer.show_stacks()
            trainer.kill()
            return
        self._failing_for += elapsed
        if self._failing_for > OWN_END + STOP_GRACE:
            trainer.kill()
        elif self._failing_for > OWN_END and not self._stopped:
            self._stopped = True
            trainer.signal(signal.SIGTERM)

    def _conclude(self, elapsed: float) -> int | None:
        """Return the exit status once the trainer has ended and any failure has been judged."""
        peers = self.peers
        if not peers.failed:
            self._leave()
            return 0
        if self._verdict is None:
            self._decide(waited=self._failed_for)
        if self._verdict is None:
            return None
        if not self._told:
            self._told = True
            print(self._verdict.line, file=sys.stderr, flush=True)
        # The launcher ends the others as soon as one is gone: let them come to their own end.
        self._told_for += elapsed
        if len(peers.endings) < peers.size and self._told_for < SETTLING:
            return None
        self._leave()
        return self._verdict.code

    def _decide(self, *, waited: float) -> None:
        """Come to the verdict, or take over that of another rank, if it is time."""
        peers = self.peers
        patience = self.limits.heartbeat + 10.0
        found = judge(
            peers.size,
            peers.endings,
            peers.alive(),
            waited=waited,
            patience=patience,
            hint=self._hint,
        )
        if found is not None:
            self._verdict = found
            with contextlib.suppress(OSError):
                self._verdict = peers.publish(found)

    def _leave(self) -> None:
        with contextlib.suppress(OSError):  # what is left of the folder does no harm
            self.peers.leave()

    def _complain(self, error: OSError) -> None:
        if not self._unreachable:
            self._unreachable = True
            print(
                f"plsc: rank {self.peers.rank} on host {self.peers.host} cannot use "
                f"{self.peers.folder} ({error}): other ranks' failures are not seen until it can",
                file=sys.stderr,
                flush=True,
            )
