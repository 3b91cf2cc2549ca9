"""Images -> embeddings, batch by batch: the loop that all commands and training embed with."""

import functools
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from tqdm import tqdm

from plsc.data.loader.worker import NewArray
from plsc.data.loader.worker_pool import WorkerPool
from plsc.data.sets.base import NO_CLASS, BadImage, ImageSource
from plsc.data.sets.pairs import PairSet
from plsc.errors import UserError
from plsc.files.progress import progress_bar
from plsc.files.resumable_rows import ResumableRows
from plsc.inference.image_reader import ImageReader
from plsc.inference.network import Floats
from plsc.recognition.embedder import Embedder

TINY = np.finfo(np.float32).tiny
READ_AT_ONCE = 32  # images, at least: fewer are not worth a message between processes


@dataclass(frozen=True, slots=True)
class Face:
    """A face that was found in an image.

    Attributes:
        index: of the image in its source.
        name: of the image.
        label: its class, -1 if it has none.
        pixels: what the network takes of it; None once it is embedded, or where it is left out.
        reason: why it is left out, or "".

    """

    index: int
    name: str = ""
    label: int = NO_CLASS
    pixels: npt.NDArray | None = None
    reason: str = ""


class FaceSource(Protocol):
    """Images by number, each with any number of faces; safe to read in forked processes.

    Attributes:
        shape: of a face's pixels.
        dtype: of them.

    """

    shape: tuple[int, ...]
    dtype: npt.DTypeLike

    def __len__(self) -> int:
        """Return how many images there are."""

    def where(self, index: int) -> str:
        """Return the image's place for messages."""

    def faces(self, index: int) -> Sequence[Face]:
        """Return the faces of image `index`, those that cannot be used with the reason.

        Raises:
            UserError: nothing can be embedded before this is mended.

        """


class FaceNetwork(Protocol):
    """Makes embeddings of faces: an `Embedder`, or a network in training."""

    def embed(
        self, images: npt.NDArray, *, flip: bool = False, where: Callable[[int], str] = ...
    ) -> Floats:
        """Return embeddings [n, d] of faces [n, ...], or with `flip` of the mirrored ones.

        `where` names face i in messages.
        """


class WholeImages:
    """The images of a set as faces: each is one, aligned and of the network's size."""

    shape: tuple[int, ...]
    dtype: npt.DTypeLike = np.uint8

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


@dataclass(frozen=True, eq=False)
class EmbeddedFaces:
    """A batch: faces [k], and their embeddings float32 [k, views, d].

    The views are the face and, where that is asked for, its mirror image. Embeddings of faces that
    are left out are NaN.
    """

    faces: Sequence[Face]
    embeddings: Floats


def embed(
    source: FaceSource,
    network: FaceNetwork,
    chunks: Sequence[Sequence[int]],
    *,
    flip: bool = False,
    skip: bool = False,
    num_workers: int = 0,
    progress: tqdm | None = None,
) -> Generator[EmbeddedFaces, None, None]:
    """Yield the faces of some images with their embeddings.

    Close it (`contextlib.closing`) where its processes must have ended whatever happens.

    Args:
        source: the images.
        network: what embeds them.
        chunks: numbers of images that are read and embedded together.
        flip: embed the mirrored images, too.
        skip: keep faces that cannot be used, with the reason; else the first ends all.
        num_workers: processes that read images; 0 reads them in this one.
        progress: counts images.

    Raises:
        BadImage: an image cannot be used.
        UserError: an embedding cannot.

    """
    largest = max(map(len, chunks), default=0)
    pool = WorkerPool(
        fill=functools.partial(_read, source, skip),
        num_workers=min(num_workers, len(chunks)),
        slot_bytes=largest * math.prod(source.shape) * np.dtype(source.dtype).itemsize,
    )
    try:
        for chunk, ((pixels,), faces) in zip(chunks, pool.map(chunks), strict=True):
            where = functools.partial(_where, source, faces)
            mirrored = (False, True) if flip else (False,)
            views = [network.embed(pixels, flip=view, where=where) for view in mirrored]
            embeddings = np.stack(views, axis=1)
            embeddings[[face.reason != "" for face in faces]] = np.nan
            yield EmbeddedFaces(faces, embeddings)
            if progress is not None:
                progress.update(len(chunk))
    finally:
        pool.close()


def _read(source: FaceSource, skip: bool, chunk: Sequence[int], new: NewArray) -> list[Face]:
    """Fill an array with the pixels of the images' faces; return the faces without them."""
    faces = [face for index in chunk for face in source.faces(index)]
    pixels = new((len(faces), *source.shape), source.dtype)
    for row, face in zip(pixels, faces, strict=True):
        if face.pixels is None:
            if not skip:
                raise BadImage(face.reason)
            row[...] = 0
            continue
        if face.pixels.dtype != row.dtype or face.pixels.shape != row.shape:
            got = f"{face.pixels.dtype} {list(face.pixels.shape)}"
            raise UserError(
                f"{source.where(face.index)}: is prepared as {got}, others as {row.dtype} "
                f"{list(row.shape)}: all images must be alike"
            )
        row[...] = face.pixels
    return [Face(face.index, face.name, face.label, reason=face.reason) for face in faces]


def _where(source: FaceSource, faces: Sequence[Face], row: int) -> str:
    return source.where(faces[row].index)


def chunks_of(rows: range | NDArray[np.int64], size: int) -> list[Sequence[int]]:
    """Return `rows` in pieces of `size`, in their order."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]  # type: ignore[misc]


def embed_all(
    source: FaceSource,
    network: FaceNetwork,
    rows: range | NDArray[np.int64] | None = None,
    *,
    batch_size: int,
    flip: bool = False,
    num_workers: int = 0,
    unit: str | None = "images",
) -> Floats:
    """Return embeddings float32 [k, views, d] of the images `rows`, all of them if not given.

    Args:
        source: the images.
        network: what embeds them.
        rows: numbers of images.
        batch_size: images at once.
        flip: embed the mirrored images, too: the second view.
        num_workers: processes that read images.
        unit: what a progress bar counts; None shows none.

    Raises:
        UserError: an image or an embedding cannot be used.

    """
    chunks = chunks_of(range(len(source)) if rows is None else rows, batch_size)
    shown = progress_bar(sum(map(len, chunks)), unit) if unit else nullcontext()
    with shown as progress:
        batches = embed(
            source, network, chunks, flip=flip, num_workers=num_workers, progress=progress
        )
        with closing(batches):
            return np.concatenate([batch.embeddings for batch in batches])


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
    with output, progress_bar(len(source), "images") as progress:
        first = output.done
        progress.update(first)
        chunks = chunks_of(
            range(first, len(source)), whole_batches(batch_size, embedder.info.batch or 1)
        )
        batches = embed(
            images, embedder, chunks,
            flip=flip, skip=skip, num_workers=_processes(num_workers), progress=progress,
        )  # fmt: skip
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
