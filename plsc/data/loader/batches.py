"""Batches of samples for training, read ahead by worker processes."""

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from plsc.data.loader.batch import Batch, Fields, batch_bytes
from plsc.data.loader.generators import ImageGenerators
from plsc.data.loader.sampler import EpochSampler
from plsc.data.loader.worker import NewArray
from plsc.data.loader.worker_pool import WorkerPool
from plsc.errors import UserError

WARNINGS = 10  # skipped images that are named at once; all are, at the end of the epoch

logger = logging.getLogger(__name__)


class TrainingSet(Protocol):
    """Samples by number, each made of its index and a generator alone.

    Other samples may stand in for those that cannot be read.

    Attributes:
        skipped: what was wrong with the images that others stood in for, by index; the loader takes
            it away with each batch.

    """

    skipped: dict[int, str]

    @property
    def fields(self) -> Fields:
        """Return shape and dtype of one sample's fields, by name; `images` is one of them."""

    @property
    def normalise(self) -> Callable[[Any], Any]:
        """Return what makes a batch of `images` the network's input."""

    def __len__(self) -> int:
        """Return how many samples there are."""

    def get(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Return a sample: an array or a number for each of `fields`."""


class TrainLoader:
    """One rank's training batches, the same to the bit for any number of workers.

    Images are not normalised yet: `normalise` does so with a batch, on the device. Call `start`
    before much memory is filled, and `close` at the end: see `WorkerPool`.
    """

    def __init__(
        self, dataset: TrainingSet, sampler: EpochSampler, *, num_workers: int = 0, seed: int = 0
    ):
        """Prepare; nothing is read and no process starts.

        Args:
            dataset: what is read.
            sampler: which images, at which step.
            num_workers: processes that read and transform; 0 does so in this one.
            seed: of the generators that transforms get, together with epoch and index.

        """
        self.normalise = dataset.normalise
        self.sampler = sampler
        self._names = list(dataset.fields)
        self._skipped: dict[int, str] = {}
        self._warned: set[int] = set()
        self._pool = WorkerPool(
            fill=functools.partial(_fill_batch, dataset, seed),
            num_workers=num_workers,
            slot_bytes=batch_bytes(dataset.fields, sampler.batch_size),
        )

    def start(self) -> None:
        """Start the worker processes, if they are not running."""
        self._pool.start()

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()

    def batches(self, epoch: int, consumed: int = 0) -> Iterator[Batch]:
        """Yield the batch of each step of `epoch`, with the fields that the data set declares.

        Args:
            epoch: from 0.
            consumed: images of the epoch's order that all ranks have taken before, together.

        Raises:
            UserError: an image cannot be used.

        """
        tasks = ((epoch, indices) for indices in self.sampler.batches(epoch, consumed))
        for arrays, skipped in self._pool.map(tasks):
            self._note(skipped)
            yield Batch(dict(zip(self._names, arrays, strict=True)))

    def take_skipped(self) -> dict[int, str]:
        """Return images that others stood in for since the last call: place and reason by index."""
        skipped, self._skipped = self._skipped, {}
        return skipped

    def _note(self, skipped: dict[int, str]) -> None:
        self._skipped.update(skipped)
        for index, reason in skipped.items():
            if len(self._warned) < WARNINGS and index not in self._warned:
                self._warned.add(index)
                logger.warning("skipped: %s", reason)


def _fill_batch(
    dataset: TrainingSet, seed: int, task: tuple[int, np.ndarray], new: NewArray
) -> dict[int, str]:
    """Fill a batch; return what was skipped on the way."""
    epoch, indices = task
    _fill(dataset, indices, ImageGenerators(seed, epoch), new)
    skipped = dict(dataset.skipped)
    dataset.skipped.clear()
    return skipped


def _fill(
    dataset: TrainingSet, indices: np.ndarray, generator: ImageGenerators, new: NewArray
) -> None:
    arrays = {
        name: new((len(indices), *shape), dtype) for name, (shape, dtype) in dataset.fields.items()
    }
    # What does not change from row to row: numpy makes a new shape at each look.
    expected = [(name, array, array.shape[1:], array.dtype) for name, array in arrays.items()]
    # One by one: an image's memory serves the next one while it is still in the cache.
    for row, index in enumerate(indices.tolist()):
        sample = dataset.get(index, generator(index))
        assert sample.keys() == arrays.keys(), (
            f"{type(dataset).__name__}.get gives the fields {list(sample)}, its `fields` declares "
            f"{list(arrays)}"
        )
        for name, array, shape, dtype in expected:
            value = np.asarray(sample[name])
            if value.shape != shape or not (value.dtype == dtype or _is_number(value, dtype)):
                raise UserError(
                    f"transform_ops give {name} of {value.dtype} {list(value.shape)} and of "
                    f"{dtype} {list(shape)}: all {name} of a batch must be alike"
                )
            array[row] = value


def _is_number(value: np.ndarray, dtype: np.dtype) -> bool:
    """Tell whether `value` is a number, which in Python has no dtype of its own, for a `dtype`."""
    return value.ndim == 0 and np.can_cast(value.dtype, dtype, "same_kind")
