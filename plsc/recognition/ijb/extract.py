"""Embed the faces of a release: worker processes decode and align, the model embeds batches."""

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

TEMPLATE_TOLERANCE = 0.5  # pixels
LAYOUT = 1  # raise it when the same images and model begin to give other embeddings


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
    """Embed all faces that no earlier run has embedded.

    Args:
        faces: the faces that the lists of the release name.
        images: folder of the images.
        stamps: int64 [n, 2], size and time of change of the image files.
        embedder: the model.
        cache: folder for embeddings; each combination of model and lists has a folder in it.
        flip: also embed the mirror images. Without flip, cached embeddings with flip serve too.
        batch_size: number of images per batch.
        num_workers: number of processes that decode and align; 0 uses this process.

    Returns:
        embeddings: [n, 2, d], or without `flip` [n, 1, d].
        num_embedded: number of faces that were not in the cache.

    Raises:
        UserError: an image cannot be used; the cache keeps all finished embeddings.

    """
    if not flip:
        both = _store(faces, embedder, cache, views=2, make=False)
        if both is not None and not len(both.missing(stamps)):
            return both, 0
    store = _store(faces, embedder, cache, views=2 if flip else 1, make=True)
    assert store is not None
    missing = store.missing(stamps)
    if not len(missing):
        return store, 0
    source = AlignedFaces(faces, images, embedder.info.size[0])
    chunks = chunks_of(missing, batch_size)
    batches = embed(
        source,
        embedder,
        chunks,
        flip=flip,
        num_workers=num_workers,
        unit="faces",
        before=len(faces) - len(missing),
    )
    with store.filling(), closing(batches):
        for batch in batches:
            rows = np.array([face.index for face in batch.faces])
            store.write(rows, batch.embeddings, stamps[rows])
    return store, len(missing)


class AlignedFaces:
    """The faces of a release, each cut from its image and aligned to a square."""

    dtype: npt.DTypeLike = np.uint8
    most_faces = 1

    def __init__(self, faces: ReleaseFaces, images: Path, side: int):
        self.shape: tuple[int, ...] = (side, side, 3)
        self._faces, self._images, self._side = faces, images, side

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self._faces)

    def where(self, index: int) -> str:
        """Return the image's path."""
        return str(self._images / self._faces.names[index])

    def faces(self, index: int) -> Sequence[Face]:
        """Return the aligned face, or the reason why its image cannot be used.

        Raises:
            UserError: the landmarks cannot be those of a face.

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
    """Return the store for these faces and this model; None if it does not exist and not `make`."""
    _check_crops(embedder)
    identity = {
        "model": embedder.digest,
        "faces": list_digest(faces),
        "views": views,
        "layout": LAYOUT,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    if not make and not (cache / key).exists():
        return None
    about = {"model_path": embedder.info.path, **identity}
    return RowStore(cache / key, (len(faces), views, embedder.info.dim), about)


def list_digest(faces: ReleaseFaces) -> str:
    """Return a digest of the image names and landmarks."""
    digest = hashlib.sha256("\n".join(faces.names).encode(errors="surrogateescape"))
    digest.update(np.ascontiguousarray(faces.points).tobytes())
    return digest.hexdigest()


def _check_crops(embedder: Embedder) -> None:
    """Refuse a model that was trained on faces aligned to another template."""
    info = embedder.info
    width, height = info.size
    if width != height:
        raise UserError(f"{info.path}: takes {width}x{height}, but faces are aligned to squares")
    points = info.alignment_template
    if points is not None and not np.allclose(points, template(width), atol=TEMPLATE_TOLERANCE):
        raise UserError(
            f"{info.path}: was trained on faces aligned to {points}, not to {template(width)[0]}..."
        )
