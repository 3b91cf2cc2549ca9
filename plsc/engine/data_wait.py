"""Tell that a run waits for its data, and advise what would change that."""

from collections.abc import Iterator, Mapping
from typing import Any

import paddle

from plsc.config.load import require
from plsc.config.sections import Config, TrainDataConfig
from plsc.distributed import world
from plsc.distributed.collectives import gather
from plsc.engine.log import RunLog
from plsc.engine.step_timer import StepTimer
from plsc.nn.environment import cores

SHARE = 0.3  # of the time spent waiting, from which on data counts as the limit
STEPS = 20  # judged together at least: one slow batch is no rule
SINGLE_FILES = ("FaceIdentificationDataset", "FaceFolderDataset")
USUAL = ("DecodeImage", "RandFlipImage", "NormalizeImage", "ToCHWImage")


class DataWaitAdvice:
    """Says once in a run that data is the limit, if it is.

    The first interval between two lines of the log does not count: workers have just started.
    """

    def __init__(self, log: RunLog, config: Config):
        self._log, self._config = log, config
        self._first, self._said = True, False
        self._steps, self._spent, self._waited = 0, 0.0, 0.0

    def __call__(self, timer: StepTimer) -> None:
        """Judge the interval that ends here; called by all ranks at the same steps."""
        if self._said or self._first:
            self._first = False
            return
        self._steps += timer.steps
        self._spent += timer.steps * timer.batch_cost
        self._waited += timer.steps * timer.reader_cost
        if self._steps < STEPS:
            return
        # Where one rank waits for its data, the others wait for that rank: their own reader_cost
        # is small. All decide by the same numbers, so that none is left alone in `gather`.
        shares = gather(paddle.to_tensor([self._waited / self._spent])).tolist()
        self._steps, self._spent, self._waited = 0, 0.0, 0.0
        if max(shares) > SHARE:
            self._said = True
            self._say(shares)

    def _say(self, shares: list[float]) -> None:
        place, most = world.current(), max(shares)
        who = f" on rank {shares.index(most)}" if place.size > 1 else ""
        data = require(self._config.DataLoader.Train, "DataLoader.Train", "training")
        advice = "; ".join(remedies(data, cores=cores(), processes=place.local_size))
        self._log.line(
            f"data is the limit: {most:.0%} of the time{who} is spent waiting for it; what helps: "
            f"{advice}"
        )


def remedies(data: TrainDataConfig, *, cores: int, processes: int) -> Iterator[str]:
    """Return what may make batches come sooner, the simplest first.

    Args:
        data: the section DataLoader.Train.
        cores: of this machine.
        processes: that train on it.

    """
    workers, fair = data.loader.num_workers, max(cores // processes, 1)
    here = f"{cores} core(s), {processes} training process(es)"
    if workers < fair:
        yield (
            f"raise DataLoader.Train.loader.num_workers from {workers} to {fair} (this machine: "
            f"{here})"
        )
    else:
        yield f"more cores (this machine: {here} with num_workers {workers} each)"
    if data.dataset.name in SINGLE_FILES:
        yield (
            f"train from one .rec file instead of single files ({data.dataset.name} -> "
            "FaceRecordDataset; plsc-data pack makes it)"
        )
    if extra := sorted(set(_names(data.dataset.params.get("transform_ops"))) - set(USUAL)):
        yield f"leave out some of transform_ops ({', '.join(extra)})"
    yield "put the set on a faster disk, if these do not help"


def _names(transform_ops: Any) -> Iterator[str]:
    for item in transform_ops or ():
        yield from item if isinstance(item, Mapping) else (str(item),)
