"""Embeddings of image sets: of pairs, and of any set into an output."""

from collections.abc import Sequence
from contextlib import closing

import numpy as np
import numpy.typing as npt

from plsc.data.sets.base import NO_CLASS, BadImage, ImageSource
from plsc.data.sets.pairs import PairSet
from plsc.files.resumable_rows import ResumableRows
from plsc.inference.image_reader import ImageReader
from plsc.inference.network import Floats
from plsc.recognition.embedder import Embedder
from plsc.recognition.embedding import Face, chunks_of, embed, embed_all

TINY = np.finfo(np.float32).tiny
READ_AT_ONCE = 32  # images, at least: fewer are not worth a message between processes


class WholeImages:
    """The images of a set as faces: each is one, aligned and of the network's size."""

    shape: tuple[int, ...]
    dtype: npt.DTypeLike = np.uint8
    most_faces = 1

    def __init__(self, source: ImageSource, reader: ImageReader):
        width, height = reader.size
        self.shape = height, width, 3
        self._source, self._reader = source, reader
        self.where = source.where

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self._source)

    def faces(self, index: int) -> Sequence[Face]:
        """Return the image as its one face, or why it cannot be used."""
        name, label = self._source.name(index), NO_CLASS
        try:
            encoded, label = self._source.read(index)
            pixels = self._reader.decode(encoded, self.where(index))
        except BadImage as error:
            return [Face(index, name, label, reason=str(error))]
        return [Face(index, name, label, pixels)]


def embed_pairs(
    pairs: PairSet, embedder: Embedder, *, flip: bool, resize: bool = False, num_workers: int = 0
) -> Floats:
    """Return embeddings [2P, views, d] of a verification set; with progress.

    Args:
        pairs: the images.
        embedder: the model.
        flip: embed the mirrored images, too: the second view.
        resize: bring images of other sizes to the model's; else they are refused.
        num_workers: processes that read images.

    Raises:
        UserError: an image or an embedding cannot be used.

    """
    source = WholeImages(pairs, ImageReader(embedder.info.size, resize))
    at_once = whole_batches(READ_AT_ONCE, embedder.batch_size)
    workers = _processes(num_workers)
    return embed_all(source, embedder, batch_size=at_once, flip=flip, num_workers=workers)


def embed_into(
    output: ResumableRows,
    source: ImageSource,
    embedder: Embedder,
    *,
    batch_size: int,
    flip: bool = False,
    normalise: bool = False,
    resize: bool = False,
    skip: bool = False,
    num_workers: int = 0,
) -> int:
    """Fill `output` with the embeddings of `source`, from where it stands to its end.

    Args:
        output: where to; not whole.
        source: the images.
        embedder: the model.
        batch_size: images at once, at least.
        flip: add the mirrored images' embeddings.
        normalise: bring each row to length 1.
        resize: bring images to the model's size.
        skip: rows of images that cannot be used are NaN; else they end it.
        num_workers: processes that read images.

    Returns:
        How many rows were there before.

    Raises:
        UserError: an image or an embedding cannot be used, or the system refuses to write; what is
            done is kept.

    """
    images = WholeImages(source, ImageReader(embedder.info.size, resize))
    at_once = whole_batches(batch_size, embedder.info.batch or 1)
    with output:
        first = output.done
        batches = embed(
            images,
            embedder,
            chunks_of(range(first, len(source)), at_once),
            flip=flip,
            skip=skip,
            num_workers=_processes(num_workers),
            before=first,
        )
        with closing(batches):
            for batch in batches:
                rows = batch.embeddings.sum(axis=1)
                if normalise:
                    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY)
                entries = [(face.name, face.label, face.reason) for face in batch.faces]
                output.append(rows, entries)
    return first


def _processes(num_workers: int) -> int:
    """Return 0 for 1: of one process more a command has nothing."""
    return num_workers if num_workers > 1 else 0


def whole_batches(least: int, batch: int) -> int:
    """Return the smallest multiple of `batch` that is at least `least`."""
    return -(-least // batch) * batch
