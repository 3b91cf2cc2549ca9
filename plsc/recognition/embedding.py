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

from plsc.data.loader.worker import NewArray
from plsc.data.loader.worker_pool import WorkerPool
from plsc.data.sets.base import NO_CLASS, BadImage
from plsc.errors import UserError
from plsc.files.progress import progress_bar
from plsc.inference.network import Floats


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
        most_faces: that an image has.

    """

    shape: tuple[int, ...]
    dtype: npt.DTypeLike
    most_faces: int

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

    def embed_views(
        self, images: npt.NDArray, *, flip: bool, where: Callable[[int], str]
    ) -> Floats:
        """Return embeddings [n, views, d] of faces [n, ...], with `flip` of the mirrored ones, too.

        `where` names face i in messages.
        """


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
    unit: str | None = "images",
    before: int = 0,
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
        unit: what a progress bar counts; None shows none.
        before: images that the bar counts as done.

    Raises:
        BadImage: an image cannot be used.
        UserError: an embedding cannot.

    """
    largest = max(map(len, chunks), default=0)
    face_bytes = math.prod(source.shape) * np.dtype(source.dtype).itemsize
    pool = WorkerPool(
        fill=functools.partial(_read, source, skip),
        num_workers=min(num_workers, len(chunks)),
        slot_bytes=largest * source.most_faces * face_bytes,
    )
    shown = progress_bar(before + sum(map(len, chunks)), unit) if unit else nullcontext()
    try:
        with shown as progress:
            if progress is not None:
                progress.update(before)
            for chunk, ((pixels,), faces) in zip(chunks, pool.map(chunks), strict=True):
                where = functools.partial(_where, source, faces)
                embeddings = network.embed_views(pixels, flip=flip, where=where)
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
    batches = embed(source, network, chunks, flip=flip, num_workers=num_workers, unit=unit)
    with closing(batches):
        return np.concatenate([batch.embeddings for batch in batches])
