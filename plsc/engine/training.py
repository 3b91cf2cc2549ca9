"""Hold the state and the parts of a training."""

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
    """Source of the batches of a rank."""

    def batches(self, epoch: int, consumed: int) -> Iterator[Batch]:
        """Return this rank's batches of an epoch after its first `consumed` samples."""

    def take_skipped(self) -> dict[int, str]:
        """Return samples skipped since the last call: place and reason, by sample number."""


@dataclass
class Training:
    """Everything that training changes, and the parts that change it; `build` makes one.

    `images` moves the loader's images to the device. There `normalise` turns them into the input of
    the network.
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
