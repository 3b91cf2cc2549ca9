"""Images that others stood in for (`on_bad: skip`): counted over all ranks, and listed."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from plsc.distributed import world
from plsc.distributed.collectives import gather_objects
from plsc.engine.log import RunLog
from plsc.engine.progress import Progress
from plsc.files.atomic import write_text

SHOWN = 3  # places in a line of the log; the list has all


class SkipReport:
    """Counts what was skipped and keeps each rank's list, `<folder>/skipped-RANK-of-RANKS.txt`.

    A list has all that its rank has skipped in this run, a line each.
    """

    def __init__(self, log: RunLog, folder: Path):
        self._log, self._folder = log, folder
        self._skipped: dict[int, str] = {}

    def __call__(self, skipped: Mapping[int, str], progress: Progress) -> None:
        """Write a line in the log, if any rank has skipped something; called by all ranks.

        Args:
            skipped: place and reason by the image's number, of this rank since the last call.
            progress: where training stands.

        """
        place = world.current()
        if skipped:
            self._skipped.update(skipped)
            with self._log.going_on("the list of skipped images"):
                self._write(self._folder / list_name(f"{place.rank:05d}", place.size))
        # The same image may have been met on two ranks: where an epoch's last batch was filled
        # up, or by standing in for another.
        everyone = np.concatenate(gather_objects(np.array(sorted(skipped), np.int64)))
        if not len(everyone):
            return
        first = [skipped[index] for index in sorted(skipped)[:SHOWN]]
        if len(skipped) > len(first):
            first.append(f"and {len(skipped) - len(first)} more")
        text = (
            f"[Train][Epoch {progress.epoch + bool(progress.consumed)}] "
            f"skipped {len(np.unique(everyone))} of {progress.num_images} images, "
            f"{len(skipped)} of them by rank {place.rank}{': ' if first else ''}{'; '.join(first)} "
            f"(all are listed in {self._folder / list_name('*', place.size)})"
        )
        self._log.line(text)

    def _write(self, path: Path) -> None:
        lines = (" ".join(self._skipped[key].splitlines()) + "\n" for key in sorted(self._skipped))
        write_text(path, "".join(lines), errors="surrogateescape")


def list_name(rank: str, size: int) -> str:
    """Return the name of a rank's list; "*" as rank gives what matches all of them."""
    return f"skipped-{rank}-of-{size:05d}.txt"
