"""Batches of images for training and evaluation, read ahead by worker processes."""

import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from plsc.data.dataset.images import SIDE
from plsc.data.sampler import EpochSampler
from plsc.data.worker_pool import WorkerPool

IMAGE_BYTES = 3 * SIDE * SIDE * np.dtype(np.float32).itemsize  # at most; uint8 as a rule
LABEL_BYTES = np.dtype(np.int64).itemsize

logger = logging.getLogger(__name__)


class TrainingSet(Protocol):
    """Images with classes; an image depends on index and generator alone."""

    normalise: Callable[[Any], Any]  # batch of images -> float32 [b, 3, 112, 112]

    def __len__(self) -> int:
        """How many images there are."""

    def get(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """An image and its class."""


class EvaluationSet(Protocol):
    """Images by number."""

    def get(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """An image."""


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
            dataset: what is read; images that it `skipped` are reported here, once each.
            sampler: which images, at which step.
            num_workers: processes that read and transform; 0 does so in this one.
            seed: of the generators that transforms get, together with epoch and index.

        """
        self._dataset = dataset
        self.normalise = dataset.normalise
        self.sampler = sampler
        self._reported: set[int] = set()
        slot = sampler.batch_size * (IMAGE_BYTES + LABEL_BYTES)
        read = functools.partial(_read_batch, dataset, seed)
        self._pool = WorkerPool(read, num_workers=num_workers, slot_bytes=slot)

    def start(self) -> None:
        """Start the worker processes, if they are not running."""
        self._pool.start()

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()

    def batches(self, epoch: int, consumed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images, uint8 as a rule, and labels int64 [b] of each step of `epoch`.

        Args:
            epoch: from 0.
            consumed: images of the epoch's order that all ranks have taken before, together.

        Raises:
            UserError: an image cannot be used.

        """
        tasks = ((epoch, indices) for indices in self.sampler.batches(epoch, consumed))
        for (images, labels), skipped in self._pool.map(tasks):
            self._report(skipped)
            yield images, labels

    def _report(self, skipped: dict[int, str]) -> None:
        """Bring what workers skipped into this process, where it can be listed."""
        for index, reason in skipped.items():
            if index not in self._reported:
                self._reported.add(index)
                logger.warning("skipped (%d so far): %s", len(self._reported), reason)
        _skipped(self._dataset).update(skipped)


def _read_batch(
    dataset: TrainingSet, seed: int, task: tuple[int, np.ndarray]
) -> tuple[list[np.ndarray], dict[int, str]]:
    epoch, indices = task
    skipped = _skipped(dataset)
    known = len(skipped)
    images, labels = zip(
        *(
            dataset.get(index, np.random.default_rng([seed, epoch, index]))
            for index in indices.tolist()
        ),
        strict=True,
    )
    return [np.stack(images), np.array(labels, np.int64)], dict(
        itertools.islice(skipped.items(), known, None)
    )


def _skipped(dataset: Any) -> dict[int, str]:
    found: dict[int, str] = getattr(dataset, "skipped", {})
    return found


def collect_images(
    dataset: EvaluationSet, chunks: Sequence[np.ndarray], *, num_workers: int = 0
) -> Iterator[np.ndarray]:
    """Images of each chunk of indices, in order, for the set's `normalise`.

    Transforms get a generator made of the index alone. The worker processes end with the iteration.

    Raises:
        UserError: an image cannot be used.

    """
    largest = max((len(chunk) for chunk in chunks), default=0)
    pool = WorkerPool(
        functools.partial(_read_chunk, dataset),
        num_workers=min(num_workers, len(chunks)),
        slot_bytes=largest * IMAGE_BYTES,
    )
    try:
        for (images,), _ in pool.map(chunks):
            yield images
    finally:
        pool.close()


def _read_chunk(dataset: EvaluationSet, indices: np.ndarray) -> tuple[list[np.ndarray], None]:
    images = [dataset.get(index, np.random.default_rng(index)) for index in indices.tolist()]
    return [np.stack(images)], None
