import logging

import cv2
import numpy as np
import pytest

from plsc.data.loader.batches import WARNINGS
from plsc.data.loader.generators import ImageGenerators
from plsc.data.loader.sampler import EpochSampler
from plsc.errors import UserError
from plsc.recognition.datasets.face import FaceIdentificationDataset

RANDOM_TRANSFORMS = ["DecodeImage", "RandFlipImage", "NormalizeImage", "ToCHWImage"]
NUM_IMAGES = 11


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A folder of `NUM_IMAGES` images and their list; image i has class i % 4."""
    folder = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        pixels = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    lines = [f"{number}.png\t{number % 4}\n" for number in range(NUM_IMAGES)]
    (folder / "label.txt").write_text("".join(lines))
    return folder


def training_set(folder, **parameters):
    return FaceIdentificationDataset(
        str(folder), str(folder / "label.txt"), RANDOM_TRANSFORMS, **parameters
    )


def equal(left, right):
    assert len(left) == len(right)
    return all(
        one.fields.keys() == other.fields.keys()
        and all(np.array_equal(one[name], other[name]) for name in one.fields)
        for one, other in zip(left, right, strict=True)
    )


def test_batches_are_the_samplers_images_with_their_own_generators(faces, loader_of):
    dataset = training_set(faces)
    sampler = EpochSampler(NUM_IMAGES, batch_size=3, rank=1, world_size=2, seed=3)
    batches = list(loader_of(dataset, rank=1, world_size=2).batches(5))
    assert len(batches) == 2
    for batch, indices in zip(batches, sampler.batches(5), strict=True):
        images, labels = batch["images"], batch["labels"]
        assert (images.dtype, images.shape) == (np.uint8, (3, 112, 112, 3))
        assert (labels.dtype, labels.shape) == (np.int64, (3,))
        for row, index in enumerate(indices):
            sample = dataset.get(int(index), ImageGenerators(3, 5)(int(index)))
            assert np.array_equal(images[row], sample["images"])
            assert labels[row] == sample["labels"] == index % 4


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_number_of_workers_changes_nothing(faces, loader_of, num_workers):
    dataset = training_set(faces)
    here, there = loader_of(dataset), loader_of(dataset, num_workers=num_workers)
    for epoch in (0, 1):
        assert equal(list(here.batches(epoch)), list(there.batches(epoch)))
    assert not equal(list(here.batches(0)), list(here.batches(1)))


def test_seed_and_epoch_change_order_and_mirroring(faces, loader_of):
    dataset = training_set(faces)
    one, other = loader_of(dataset, shuffle=False), loader_of(dataset, shuffle=False, seed=4)
    runs = [one.batches(0), one.batches(1), other.batches(0)]
    first, *others = [np.concatenate([batch["images"] for batch in batches]) for batches in runs]
    for images in others:  # the same images, some of them mirrored where they were not before
        same = [np.array_equal(a, b) for a, b in zip(first, images, strict=True)]
        mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(first, images, strict=True)]
        assert all(a != b for a, b in zip(same, mirrored, strict=True))
        assert 0 < sum(same) < len(same)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resume_in_mid_epoch_is_exact(faces, loader_of, num_workers):
    dataset = training_set(faces)
    whole = list(loader_of(dataset).batches(2))
    resumed = loader_of(dataset, num_workers=num_workers)
    for steps in range(len(whole) + 1):
        assert equal(list(resumed.batches(2, consumed=3 * steps)), whole[steps:])


def broken(faces, tmp_path, faults):
    """A copy of the set where image i holds `faults[i]`."""
    for number in range(NUM_IMAGES):
        content = faults.get(number, (faces / f"{number}.png").read_bytes())
        (tmp_path / f"{number}.png").write_bytes(content)
    (tmp_path / "label.txt").write_text((faces / "label.txt").read_text())
    return tmp_path


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_bad_image_is_named_by_the_error_of_its_step(faces, tmp_path, loader_of, num_workers):
    folder = broken(faces, tmp_path, {7: b"junk"})
    loader = loader_of(training_set(folder), num_workers=num_workers, shuffle=False)
    batches = loader.batches(0)
    next(batches), next(batches)
    with pytest.raises(UserError) as caught:
        next(batches)
    place = f"{folder}/7.png ({folder}/label.txt:8)"
    assert str(caught.value) == f"{place}: cannot be decoded as an image"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_skipped_images_are_replaced_and_known_in_each_epoch(
    faces, tmp_path, loader_of, num_workers, caplog
):
    folder = broken(faces, tmp_path, {4: b"", 5: b"junk", 10: b"junk"})
    loader = loader_of(training_set(folder, on_bad="skip"), num_workers=num_workers)
    with caplog.at_level(logging.WARNING, "plsc"):
        for epoch in range(8):  # so that both workers meet each of them
            labels = np.concatenate([batch["labels"] for batch in loader.batches(epoch)])
            skipped = loader.take_skipped()
            assert sorted(skipped) == [4, 5, 10]
    assert loader.take_skipped() == {}
    order = EpochSampler(NUM_IMAGES, batch_size=3, seed=3).order(7)
    good = {4: 6, 5: 6, 10: 0}  # each bad one by the next that can be read
    expected = [good.get(index, index) % 4 for index in order.tolist()]
    assert labels.tolist() == [*expected, expected[0]]
    assert "label.txt:6" in skipped[5] and "cannot be decoded" in skipped[5]
    messages = [record.getMessage() for record in caplog.records]
    assert sorted(messages) == sorted(f"skipped: {reason}" for reason in skipped.values())


def test_what_is_skipped_is_counted_from_where_an_epoch_goes_on(faces, tmp_path, loader_of):
    folder = broken(faces, tmp_path, {1: b"", 7: b"junk"})
    loader = loader_of(training_set(folder, on_bad="skip"), num_workers=2, shuffle=False)
    next(loader.batches(0))
    assert sorted(loader.take_skipped()) == [1]
    for _ in loader.batches(0, consumed=6):
        pass
    assert sorted(loader.take_skipped()) == [7]


def test_many_skipped_images_do_not_fill_the_console(faces, tmp_path, loader_of, caplog):
    folder = broken(faces, tmp_path, dict.fromkeys(range(NUM_IMAGES), b"junk"))
    (folder / "good.png").write_bytes((faces / "3.png").read_bytes())
    lines = [f"{number}.png\t0\n" for number in range(NUM_IMAGES)]
    (folder / "label.txt").write_text("".join([*lines, "good.png\t1\n"]))
    loader = loader_of(training_set(folder, on_bad="skip"))
    with caplog.at_level(logging.WARNING, "plsc"):
        assert {label for batch in loader.batches(0) for label in batch["labels"].tolist()} == {1}
    assert len(caplog.records) == WARNINGS < len(loader.take_skipped()) == NUM_IMAGES


def test_skipped_images_do_not_depend_on_the_number_of_workers(faces, tmp_path, loader_of):
    dataset = training_set(broken(faces, tmp_path, {4: b"", 9: b"junk"}), on_bad="skip")
    here, there = (list(loader_of(dataset, num_workers=n).batches(1)) for n in (0, 2))
    assert equal(here, there)
