"""Decide when a trainer that runs counts as hung."""

from collections.abc import Collection, Container
from dataclasses import dataclass

from plsc.supervise.child_process import TrainerProcess
from plsc.supervise.diagnosis import quoted
from plsc.supervise.heartbeat import STARTING
from plsc.supervise.peers import Peer


@dataclass(frozen=True)
class Limits:
    """Seconds after which a trainer counts as hung.

    Attributes:
        heartbeat: without a heartbeat.
        startup: the same before the first phase: imports may keep the heartbeat's thread waiting.
        stall: at one position while another rank is further on.
        absence: until a rank has appeared.
        joining: while every rank waits for the others to join.
    """

    heartbeat: float
    startup: float
    stall: float
    absence: float
    joining: float


class HangWatch:
    """Times how long a trainer is silent, at the same phase, and behind another rank.

    Attributes:
        unchanged: seconds for which its phase has not changed.
        joining: seconds for which all ranks have waited for each other to join.
    """

    def __init__(self, trainer: TrainerProcess, limits: Limits) -> None:
        self._trainer, self._limits = trainer, limits
        self._silent = self.unchanged = self._behind = self.joining = 0.0
        self._leader: Peer | None = None

    def listen(self, elapsed: float, others: Collection[Peer], ended: Container[int]) -> None:
        """Hear the trainer; `elapsed` seconds have passed since the last call.

        Args:
            elapsed: in which the trainer could be heard.
            others: the other ranks.
            ended: those that have come to their end, where they cannot be waiting.
        """
        trainer = self._trainer
        at = trainer.phase, trainer.position
        self._silent = 0.0 if trainer.listen() else self._silent + elapsed
        changed = at != (trainer.phase, trainer.position)
        self.unchanged = 0.0 if changed else self.unchanged + elapsed
        ahead = (peer for peer in others if peer.rank not in ended and self._is_ahead(peer))
        self._leader = next(ahead, None)
        self._behind = 0.0 if changed or self._leader is None else self._behind + elapsed
        apart = _is_joining(trainer.position) and all(
            _is_joining(peer.beat.get("position")) for peer in others
        )
        self.joining = self.joining + elapsed if apart else 0.0

    def hang(self) -> str | None:
        """Return why the trainer counts as hung, if it does."""
        trainer, limits = self._trainer, self._limits
        # Paddle holds the interpreter's lock while it joins.
        quiet = trainer.phase == STARTING or _is_joining(trainer.position)
        limit = limits.startup if quiet else limits.heartbeat
        if self._silent > limit:
            return f"hung: no sign of life for {limit:.0f} s ({quoted(trainer.phase)})"
        if self._leader is not None and self._behind > limits.stall:
            return (
                f"hung: no progress for {self._behind:.0f} s ({quoted(trainer.phase)}) while rank "
                f"{self._leader.rank} was in phase {self._leader.beat['phase']}"
            )
        return None

    def apart(self) -> bool:
        """Tell whether the ranks are all there and have not found each other."""
        return self.joining > self._limits.joining

    def _is_ahead(self, peer: Peer) -> bool:
        own, other = self._trainer.position, peer.beat.get("position")
        return own is not None and other is not None and other > own


def _is_joining(position: float | None) -> bool:
    """Tell whether a rank is at the place before the first collective: a negative position."""
    return position is not None and position < 0
