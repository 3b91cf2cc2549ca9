"""The state and the parts of a training."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from plsc.data.loader.batch import Batch
from plsc.data.transforms.normalisation import as_given
from plsc.distributed.data_parallel import DataParallel
from plsc.engine.image_transfer import ImageTransfer
from plsc.engine.precision import Precision
from plsc.engine.progress import Progress
from plsc.engine.training_task import TrainingTask
from plsc.engine.update import Updater
from plsc.scheduler.warmup import Schedule


class Loader(Protocol):
    """Batches of one epoch after `consumed` samples of its order."""

    def batches(self, epoch: int, consumed: int) -> Iterator[Batch]:
        """Return this rank's batches."""

    def take_skipped(self) -> dict[int, str]:
        """Return samples left out since the last call: place and reason by number."""


@dataclass
class Training:
    """Everything that training changes, and the parts that change it; made by `build`.

    `images` brings the loader's images to the device, where `normalise` makes them the network's
    input.
    """

    network: DataParallel
    task: TrainingTask
    updater: Updater
    precision: Precision
    schedule: Schedule
    loader: Loader
    progress: Progress
    normalise: Callable[[Any], Any] = as_given
    images: ImageTransfer = field(default_factory=ImageTransfer)
    accum_steps: int = 1
    frozen: bool = False
    seed: int = 0
