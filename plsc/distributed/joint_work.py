"""Work with files that all ranks do at once, each hearing of what another could not do.

Gloo gives up after half a minute in one collective, and files take longer than that: so the ranks
meet in many short collectives while the work goes on.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any

from plsc.distributed import world
from plsc.distributed.collectives import agree, gather_objects
from plsc.errors import DamagedFile, UserError

POLL_SECONDS = 0.05


class _Damage(str):
    """Says that a file is damaged; a text that keeps this on its way to other ranks."""

    __slots__ = ()


class JointWork:
    """Keeps the failures of this rank; `raise_failures` raises on every rank those of any.

    Args:
        purpose: begins the message.

    """

    def __init__(self, purpose: str):
        self._purpose = purpose
        self._failures: list[str] = []

    def attempt(self, action: Callable[..., object], *arguments: Any) -> None:
        """Run the action; keep its error until `raise_failures`."""
        try:
            action(*arguments)
        except (OSError, UserError) as error:
            self._fail(error)

    def raise_failures(self) -> None:
        """Wait for all ranks (for moments only), and end here if one of them has failed.

        Raises:
            UserError: says which rank on which host, and why; DamagedFile if that is all of it.

        """
        found = self.collect(self._failures)
        if found:
            kind = DamagedFile if all(isinstance(text, _Damage) for text in found) else UserError
            raise kind(f"{self._purpose}: {'; '.join(found)}")

    def collect(self, items: list[Any]) -> list[Any]:
        """Return the items of all ranks, in the order of the ranks; for few and small ones."""
        return [item for found in gather_objects(items) for item in found]

    def in_threads(self, action: Callable[[], object], waiting: Callable[[], None]) -> None:
        """Run the action in a thread until every rank's has ended; call `waiting` now and then."""
        ended: list[bool] = []

        def run() -> None:
            action()
            ended.append(True)

        worker = threading.Thread(target=self.attempt, args=(run,), daemon=True)
        worker.start()
        while agree(worker.is_alive()):
            worker.join(POLL_SECONDS)
            waiting()
        if not ended and not self._failures:  # a defect, whose traceback Python has printed
            self._fail("the thread ended early")

    def in_lockstep(self, steps: Iterator[object]) -> None:
        """Exhaust `steps`, one step on every rank at a time; for what must not leave its thread."""
        going = [True]

        def step() -> None:
            going[0] = False  # unless there is another, and it is done
            going[0] = next(steps, steps) is not steps

        while agree(going[0]):
            if going[0]:
                self.attempt(step)

    def _fail(self, why: object) -> None:
        place = world.current()
        kind = _Damage if isinstance(why, DamagedFile) else str
        self._failures.append(kind(f"rank {place.rank} on {place.host}: {why}"))


def on_all_ranks(action: Callable[[], Any]) -> Any:
    """Return what the action returns; called by all ranks, and damaged for all if for one.

    Raises:
        DamagedFile: the action did, here or on another rank.

    """
    result, failure = None, None
    try:
        result = action()
    except DamagedFile as error:
        failure = error
    said = [text for text in gather_objects(failure and str(failure)) if text]
    if failure is not None:
        raise failure
    if said:
        raise DamagedFile(said[0])
    return result
