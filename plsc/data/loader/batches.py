"""Batches of images for training and evaluation, read ahead by worker processes."""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from plsc.data.loader.generators import ImageGenerators
from plsc.data.loader.sampler import EpochSampler
from plsc.data.loader.worker import New
from plsc.data.loader.worker_pool import WorkerPool
from plsc.data.transforms.align import TEMPLATE_SIZE
from plsc.errors import UserError

IMAGE_BYTES = (
    3 * TEMPLATE_SIZE * TEMPLATE_SIZE * np.dtype(np.float32).itemsize
)  # at most; uint8 as a rule
LABEL_BYTES = np.dtype(np.int64).itemsize
WARNINGS = 10  # skipped images that are named at once; all are, at the end of the epoch

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
            dataset: what is read.
            sampler: which images, at which step.
            num_workers: processes that read and transform; 0 does so in this one.
            seed: of the generators that transforms get, together with epoch and index.

        """
        self.normalise = dataset.normalise
        self.sampler = sampler
        self._skipped: dict[int, str] = {}
        self._warned: set[int] = set()
        self._pool = WorkerPool(
            fill=functools.partial(_fill_batch, dataset, seed),
            num_workers=num_workers,
            slot_bytes=sampler.batch_size * (IMAGE_BYTES + LABEL_BYTES),
        )

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
            self._note(skipped)
            yield images, labels

    def take_skipped(self) -> dict[int, str]:
        """Images that others stood in for since the last call: place and reason by index."""
        skipped, self._skipped = self._skipped, {}
        return skipped

    def _note(self, skipped: dict[int, str]) -> None:
        self._skipped.update(skipped)
        for index, reason in skipped.items():
            if len(self._warned) < WARNINGS and index not in self._warned:
                self._warned.add(index)
                logger.warning("skipped: %s", reason)


def _fill_batch(
    dataset: TrainingSet, seed: int, task: tuple[int, np.ndarray], new: New
) -> dict[int, str]:
    """Images and labels; what was skipped on the way."""
    epoch, indices = task
    generator = ImageGenerators(seed, epoch)
    labels = []

    def get(index: int) -> np.ndarray:
        image, label = dataset.get(index, generator(index))
        labels.append(label)
        return image

    _fill_images(get, indices, new)
    new((len(labels),), np.int64)[:] = labels
    found: dict[int, str] = getattr(dataset, "skipped", {})
    skipped = dict(found)
    found.clear()
    return skipped


def _fill_images(get: Callable[[int], np.ndarray], indices: np.ndarray, new: New) -> None:
    # One by one: an image's memory serves the next one while it is still in the cache.
    for row, index in enumerate(indices.tolist()):
        image = get(index)
        if row == 0:
            images = new((len(indices), *image.shape), image.dtype)
        if (image.shape, image.dtype) != (images.shape[1:], images.dtype):
            raise UserError(
                f"transform_ops give images of {image.dtype} {list(image.shape)} and of "
                f"{images.dtype} {list(images.shape[1:])}: all images of a batch must be alike"
            )
        images[row] = image


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
        fill=functools.partial(_fill_chunk, dataset),
        num_workers=min(num_workers, len(chunks)),
        slot_bytes=largest * IMAGE_BYTES,
    )
    try:
        for (images,), _ in pool.map(chunks):
            yield images
    finally:
        pool.close()


def _fill_chunk(dataset: EvaluationSet, indices: np.ndarray, new: New) -> None:
    generator = ImageGenerators()
    _fill_images(lambda index: dataset.get(index, generator(index)), indices, new)
