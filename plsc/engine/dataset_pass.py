"""The training set seen before training, to measure something of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle

from plsc.config.sections import Config
from plsc.data.loader.batches import TrainLoader
from plsc.data.loader.sampler import EpochSampler
from plsc.distributed import world


def one_pass(
    dataset: Any, config: Config, *, shuffle: bool
) -> Iterator[tuple[paddle.Tensor, np.ndarray]]:
    """This rank's batches of one epoch: images [b, 3, 112, 112], normalised, and labels [b].

    All ranks get as many; the last batch is filled up with images that have been seen.
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
            yield loader.normalise(paddle.to_tensor(batch["images"])), batch["labels"]
    finally:
        loader.close()
