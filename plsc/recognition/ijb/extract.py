"""Faces of a release -> embeddings: decoded and aligned in processes, embedded in batches."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from plsc.data.sets.base import BadImage
from plsc.data.sets.files import read_file
from plsc.data.transforms.align import align, template
from plsc.data.transforms.standard import decode
from plsc.errors import UserError
from plsc.files.row_store import RowStore
from plsc.recognition.embedder import Embedder
from plsc.recognition.embedding import Face, chunks_of, embed
from plsc.recognition.ijb.protocol import ReleaseFaces

PLACE_TOLERANCE = 0.5  # pixels
LAYOUT = 1  # to be raised where the same images and model begin to give other embeddings


def embed_faces(
    faces: ReleaseFaces,
    images: Path,
    stamps: NDArray[np.int64],
    embedder: Embedder,
    cache: Path,
    *,
    flip: bool,
    batch_size: int,
    num_workers: int,
) -> tuple[RowStore, int]:
    """Embed all faces, or what is left of them where an earlier run has done others.

    Args:
        faces: the lists.
        images: folder of the images.
        stamps: int64 [n, 2], of the image files.
        embedder: the model.
        cache: folder for embeddings of any models and lists; each pair has a folder in it.
        flip: also embed the mirror images; without it, embeddings with them are taken if there.
        batch_size: images at once.
        num_workers: processes that decode and align; 0 does it in this one.

    Returns:
        embeddings: [n, 2, d], or without `flip` [n, 1, d].
        num_embedded: faces that were not there yet.

    Raises:
        UserError: an image cannot be used; what has been done is kept.

    """
    if not flip:
        both = _store(faces, embedder, cache, views=2, make=False)
        if both is not None and not len(both.missing(stamps)):
            return both, 0
    store = _store(faces, embedder, cache, views=2 if flip else 1, make=True)
    assert store is not None
    left = store.missing(stamps)
    if not len(left):
        return store, 0
    source, chunks = AlignedFaces(faces, images, embedder.info.size[0]), chunks_of(left, batch_size)
    batches = embed(
        source,
        embedder,
        chunks,
        flip=flip,
        num_workers=num_workers,
        unit="faces",
        before=len(faces) - len(left),
    )
    with store.filling(), closing(batches):
        for batch in batches:
            rows = np.array([face.index for face in batch.faces])
            store.write(rows, batch.embeddings, stamps[rows])
    return store, len(left)


class AlignedFaces:
    """The listed faces of a release, each cut out of its image and aligned to a square."""

    dtype: npt.DTypeLike = np.uint8
    most_faces = 1

    def __init__(self, faces: ReleaseFaces, images: Path, side: int):
        self.shape: tuple[int, ...] = (side, side, 3)
        self._faces, self._images, self._side = faces, images, side

    def __len__(self) -> int:
        """Return how many faces there are."""
        return len(self._faces)

    def where(self, index: int) -> str:
        """Return the image's path."""
        return str(self._images / self._faces.names[index])

    def faces(self, index: int) -> Sequence[Face]:
        """Return the face, or why its image cannot be used.

        Raises:
            UserError: its landmarks are of no face.

        """
        path = self.where(index)
        try:
            encoded = read_file(path, lambda: path)
        except BadImage as error:
            return [Face(index, reason=str(error))]
        try:
            pixels = decode(encoded)
        except BadImage as error:
            return [Face(index, reason=f"{path}: {error}")]
        try:
            cut = align(pixels, self._faces.points[index], size=self._side)
        except UserError as error:
            raise UserError(f"{self._faces.where(index)}: {error}") from error
        return [Face(index, pixels=cut)]


def _store(
    faces: ReleaseFaces, embedder: Embedder, cache: Path, *, views: int, make: bool
) -> RowStore | None:
    """Return the store for these faces and this model; None if it would have to be made."""
    _check_crops(embedder)
    of = {"model": embedder.digest, "faces": list_digest(faces), "views": views, "layout": LAYOUT}
    key = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]
    if not make and not (cache / key).exists():
        return None
    about = {"model_path": embedder.info.path, **of}
    return RowStore(cache / key, (len(faces), views, embedder.info.dim), about)


def list_digest(faces: ReleaseFaces) -> str:
    """Return a digest of the names of the images and of the landmarks."""
    digest = hashlib.sha256("\n".join(faces.names).encode(errors="surrogateescape"))
    digest.update(np.ascontiguousarray(faces.points).tobytes())
    return digest.hexdigest()


def _check_crops(embedder: Embedder) -> None:
    """Refuse a model that was trained on faces aligned in another way than ours."""
    info = embedder.info
    width, height = info.size
    if width != height:
        raise UserError(f"{info.path}: takes {width}x{height}, but faces are aligned to squares")
    places = info.alignment_template
    if places is not None and not np.allclose(places, template(width), atol=PLACE_TOLERANCE):
        raise UserError(
            f"{info.path}: was trained on faces aligned to {places}, not to {template(width)[0]}..."
        )
