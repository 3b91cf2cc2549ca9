"""Loaders that end with their test."""

import pytest

from plsc.data.loader.batches import TrainLoader
from plsc.data.loader.sampler import EpochSampler


@pytest.fixture
def loader_of():
    loaders = []

    def make(dataset, num_workers=0, *, seed=3, **parameters):
        sampler = EpochSampler(len(dataset), **{"batch_size": 3, "seed": seed, **parameters})
        loaders.append(TrainLoader(dataset, sampler, num_workers=num_workers, seed=seed))
        return loaders[-1]

    yield make
    for loader in loaders:
        loader.close()
