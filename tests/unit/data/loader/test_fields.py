"""Batches of any fields: here those of a detector, of which the loader knows nothing."""

import numpy as np
import pytest

from plsc.data.loader.batch import Batch, batch_bytes
from plsc.data.loader.generators import ImageGenerators
from plsc.data.loader.sampler import EpochSampler
from plsc.errors import UserError

MOST_BOXES, SIDE, BATCH = 64, 640, 3
SHAPES = {"images": (BATCH, SIDE, SIDE, 3), "boxes": (BATCH, MOST_BOXES, 5), "count": (BATCH,)}
DTYPES = {"images": np.uint8, "boxes": np.float32, "count": np.int64}


class Crowds:
    """Noise with up to `MOST_BOXES` random boxes, padded with zeros; sample 2 may be wrong."""

    fields = {
        "images": ((SIDE, SIDE, 3), np.uint8),
        "boxes": ((MOST_BOXES, 5), np.float32),
        "count": ((), np.int64),
    }
    normalise = staticmethod(lambda images: images)

    def __init__(self, **wrong):
        self.skipped = {}
        self.wrong = wrong

    def __len__(self):
        return 7

    def get(self, index, rng):
        count = int(rng.integers(MOST_BOXES + 1)) if index else MOST_BOXES
        boxes = np.zeros((MOST_BOXES, 5), np.float32)
        boxes[:count] = rng.random((count, 5))
        images = np.frombuffer(rng.bytes(SIDE * SIDE * 3), np.uint8).reshape(SIDE, SIDE, 3)
        wrong = self.wrong if index == BATCH - 1 else {}
        return {"images": images, "boxes": boxes, "count": count, **wrong}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_field_arrives_as_the_data_set_gives_it(loader_of, num_workers):
    dataset, generator = Crowds(), ImageGenerators(3, 1)
    orders = list(EpochSampler(len(dataset), batch_size=BATCH, seed=3).batches(1))
    batches = list(loader_of(dataset, num_workers).batches(1))
    assert len(batches) == len(orders) == 3
    for batch, indices in zip(batches, orders, strict=True):
        assert len(batch) == BATCH
        assert {name: array.shape for name, array in batch.fields.items()} == SHAPES
        assert {name: array.dtype for name, array in batch.fields.items()} == DTYPES
        for row, index in enumerate(indices.tolist()):
            for name, value in dataset.get(index, generator(index)).items():
                assert np.array_equal(batch[name][row], value)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (
            {"boxes": np.zeros((1, 5), np.float32)},
            UserError,
            r"give boxes of float32 \[1, 5\] and of float32 \[64, 5\]: all boxes of a batch must",
        ),
        (
            {"boxes": np.zeros((MOST_BOXES, 5))},
            UserError,
            r"boxes of float64 \[64, 5\] and of float32 \[64, 5\]",
        ),
        ({"count": 0.5}, UserError, r"count of float64 \[\] and of int64 \[\]"),
        (
            {"labels": 3},
            AssertionError,
            r"Crowds\.get gives the fields \['images', 'boxes', 'count', 'labels'\], its `fields` "
            r"declares \['images', 'boxes', 'count'\]",
        ),
    ],
    ids=["not padded", "other dtype", "no whole number", "not declared"],
)
def test_a_field_that_was_not_declared_so(loader_of, num_workers, wrong, error, message):
    with pytest.raises(error, match=message):
        next(loader_of(Crowds(**wrong), num_workers, shuffle=False).batches(0))


def test_the_memory_of_a_batch_follows_from_its_fields():
    image, boxes = SIDE * SIDE * 3, MOST_BOXES * 5 * 4
    assert batch_bytes(Crowds.fields, 16) == 16 * image + 16 * boxes + 16 * 8
    assert batch_bytes(Crowds.fields, 1) == image + boxes + 64  # each in blocks of 64 bytes
    assert batch_bytes(Crowds.fields, 0) == 0
    face = {"images": ((112, 112, 3), np.uint8), "labels": ((), np.int64)}
    assert batch_bytes(face, 128) == 128 * (112 * 112 * 3 + 8)


def test_many_small_fields_have_room(loader_of):
    class Small:
        fields = {f"field {number}": ((), np.int16) for number in range(20)}
        normalise = staticmethod(lambda images: images)
        skipped = {}

        def __len__(self):
            return 3

        def get(self, index, rng):
            return {name: index for name in self.fields}

    (batch,) = loader_of(Small(), 1).batches(0)
    assert all(sorted(array.tolist()) == [0, 1, 2] for array in batch.fields.values())


def test_a_batch_splits_into_equal_parts():
    batch = Batch({"images": np.arange(12).reshape(6, 2), "labels": np.arange(6)})
    parts = batch.split(3)
    assert [part["labels"].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    assert [part["images"][0, 0] for part in parts] == [0, 4, 8]
    assert [len(part) for part in parts] == [2, 2, 2] and len(batch) == 6
    with pytest.raises(AssertionError, match="6 samples cannot be split into 4 parts"):
        batch.split(4)
    with pytest.raises(AssertionError, match="of one length"):
        Batch({"images": np.zeros((2, 3)), "labels": np.zeros(3)})
