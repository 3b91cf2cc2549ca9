"""The training set seen before training, to measure something of it."""

from collections.abc import Iterator
from typing import Any

import paddle

from plsc.config.sections import Config
from plsc.data.loader.batch import Batch
from plsc.data.loader.batches import TrainLoader
from plsc.data.loader.sampler import EpochSampler
from plsc.distributed import world


def one_epoch(
    dataset: Any, config: Config, *, shuffle: bool
) -> Iterator[tuple[paddle.Tensor, Batch]]:
    """Yield this rank's batches of one epoch: the network's input, and the batch itself.

    All ranks get as many; the last batch is filled up with samples that have been seen.
    """
    data, place = config.DataLoader.Train, world.current()
    assert data is not None
    sampler = EpochSampler(
        len(dataset),
        batch_size=data.sampler.batch_size,
        rank=place.rank,
        world_size=place.size,
        shuffle=shuffle,
        seed=config.Global.seed,
    )
    loader = TrainLoader(dataset, sampler, num_workers=data.loader.num_workers)
    try:
        for batch in loader.batches(0, 0):
            yield loader.normalise(paddle.to_tensor(batch["images"])), batch
    finally:
        loader.close()
