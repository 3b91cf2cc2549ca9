"""The one loop that embeds: order, reasons, mirrored views, and one pass for several metrics."""

import numpy as np
import pytest

from plsc.data.sets.base import BadImage
from plsc.errors import UserError
from plsc.recognition.embedding import (
    Face,
    chunks_of,
    embed,
    embed_all,
)
from plsc.recognition.evaluator import evaluators_of
from plsc.recognition.metrics.registered import AngularAcc, LFWAcc
from plsc.recognition.set_embedding import whole_batches


class Crowds:
    """Image i has i % 3 faces of i, and of every fourth one says why it is left out."""

    shape, dtype, most_faces = (40, 40, 3), np.uint8, 3

    def __init__(self, good=False):
        self.good = good

    def __len__(self):
        return 9

    def where(self, index):
        return f"image {index}"

    def faces(self, index):
        pixels = np.full(self.shape, index, np.uint8)
        pixels[:, 0] += 100
        found = [Face(index, f"{index}.png", 7, pixels)] * (index % 3)
        blurred = index % 4 == 3 and not self.good
        return [*found, Face(index, f"{index}.png", reason="blurred")] if blurred else found


class Corner:
    """Embeds a face as the values of its first pixel."""

    def embed_views(self, images, *, flip, where):
        if (images == 255).any():
            raise UserError(f"{where(int(np.argmax((images == 255).any(axis=(1, 2, 3)))))}: NaN")
        views = [images, images[:, :, ::-1]] if flip else [images]
        return np.stack([np.float32(view[:, 0, 0]) for view in views], axis=1)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_faces_in_their_order_with_reasons(num_workers):
    chunks = chunks_of(range(9), 2)
    found = list(embed(Crowds(), Corner(), chunks, flip=True, skip=True, num_workers=num_workers))
    faces = [face for batch in found for face in batch.faces]
    rows = np.concatenate([batch.embeddings for batch in found])
    assert [face.index for face in faces] == [1, 2, 2, 3, 4, 5, 5, 7, 7, 8, 8]
    assert [face.reason for face in faces if face.reason] == ["blurred"] * 2
    assert all(face.pixels is None and face.name == f"{face.index}.png" for face in faces)
    for face, (plain, mirrored) in zip(faces, rows, strict=True):
        if face.reason:
            assert np.isnan(plain).all() and np.isnan(mirrored).all()
        else:
            assert set(plain) == {face.index + 100} and set(mirrored) == {face.index}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_face_that_is_left_out_ends_it_where_nothing_is_skipped(num_workers):
    with pytest.raises(BadImage, match="^blurred$"):
        embed_all(Crowds(), Corner(), batch_size=2, num_workers=num_workers, unit=None)
    rows = embed_all(Crowds(good=True), Corner(), np.array([4, 1, 8]), batch_size=2, unit=None)
    assert rows[:, 0, 0].tolist() == [104, 101, 108, 108]


def test_messages_name_the_image_and_not_the_face():
    class Bright(Crowds):
        def faces(self, index):
            return [Face(index, pixels=np.full(self.shape, 248 + index % 8, np.uint8))] * 2

    with pytest.raises(UserError, match="image 7: NaN"):
        embed_all(Bright(), Corner(), batch_size=9, unit=None)


def test_images_that_are_prepared_otherwise_are_refused():
    class Odd(Crowds):
        def faces(self, index):
            return [Face(index, pixels=np.zeros(self.shape, np.float32))]

    with pytest.raises(
        UserError, match=r"image 0: is prepared as float32 \[40, 40, 3\], others as"
    ):
        embed_all(Odd(), Corner(), batch_size=2, unit=None)


@pytest.mark.parametrize(
    ("asked", "batch", "given"), [(64, 1, 64), (64, 32, 64), (65, 32, 96), (1, 8, 8), (7, 1, 7)]
)
def test_batches_are_filled(asked, batch, given):
    assert whole_batches(asked, batch) == given


class Noise:
    """Pairs of images that are noise."""

    fields = {"images": ((3, 4, 4), np.float32)}
    issame = np.arange(10) % 2 == 0

    def __len__(self):
        return 20

    def get(self, index, rng):
        return {"images": np.random.default_rng(index).random((3, 4, 4), np.float32)}

    def normalise(self, images):
        return images - 0.5


def test_the_metrics_of_a_set_embed_once():
    metrics = [AngularAcc(nrof_folds=2), LFWAcc(nrof_folds=2), LFWAcc(flip_test=False)]
    evaluators = evaluators_of(Noise(), metrics, name="noise", batch_size=8)
    assert sum(evaluator.num_samples for evaluator in evaluators) == 40
    seen = []

    def network(images):
        seen.append(len(images))
        return {"embedding": images.reshape(len(images), -1)}

    for _ in range(2):  # as in training, where the same network has other weights next time
        reports = [evaluator.report(network) for evaluator in evaluators]
        assert sum(seen) == 40
        seen.clear()
    for metric, report in zip(metrics, reports, strict=True):
        (alone,) = evaluators_of(Noise(), [metric], name="noise", batch_size=8)
        assert alone.report(network).to_dict() == report.to_dict()
