"""Faces of a release -> embeddings: decoded and aligned in processes, embedded in batches."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plsc.data.loader.worker_pool import WorkerPool
from plsc.data.sets.files import read_file
from plsc.data.transforms.align import align, template
from plsc.data.transforms.standard import decode
from plsc.errors import UserError
from plsc.files.progress import progress_bar
from plsc.recognition.embedder import Embedder
from plsc.recognition.ijb.embedding_file import CHUNK, EmbeddingFile
from plsc.recognition.ijb.protocol import Faces

PLACE_TOLERANCE = 0.5  # pixels
LAYOUT = 1  # to be raised where the same images and model begin to give other embeddings


def embed_faces(
    faces: Faces,
    images: Path,
    stamps: NDArray[np.int64],
    embedder: Embedder,
    cache: Path,
    *,
    flip: bool,
    batch_size: int,
    num_workers: int,
) -> tuple[EmbeddingFile, int]:
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
        both = _embedding_file(faces, embedder, cache, views=2, make=False)
        if both is not None and not both.unfinished(stamps):
            return both, 0
    file = _embedding_file(faces, embedder, cache, views=2 if flip else 1, make=True)
    assert file is not None
    chunks, side = file.unfinished(stamps), embedder.info.size[0]
    left = sum(len(file.rows(chunk)) for chunk in chunks)
    if not left:
        return file, 0

    def crops(rows: range) -> tuple[list[np.ndarray], None]:
        return [np.stack([_crop(faces, images, row, side) for row in rows])], None

    tasks = [(chunk, rows) for chunk in chunks for rows in _batches(file.rows(chunk), batch_size)]
    slot_bytes = min(batch_size, CHUNK) * side * side * 3
    pool = WorkerPool(crops, num_workers=num_workers, slot_bytes=slot_bytes)
    with file.filling(), progress_bar(len(faces), "faces") as bar:
        bar.update(len(faces) - left)
        done: list[NDArray[np.float32]] = []
        try:
            results = pool.map(rows for _, rows in tasks)
            for (chunk, rows), ((batch,), _) in zip(tasks, results, strict=True):
                paths = [str(images / faces.names[row]) for row in rows]
                done.append(_views(embedder, batch, paths, flip=flip))
                if rows.stop == file.rows(chunk).stop:
                    file.write(chunk, np.concatenate(done), stamps)
                    done = []
                bar.update(len(rows))
        finally:
            pool.close()
    return file, left


def _embedding_file(
    faces: Faces, embedder: Embedder, cache: Path, *, views: int, make: bool
) -> EmbeddingFile | None:
    """The file for these faces and this model; None if it would have to be made."""
    _check_crops(embedder)
    of = {"model": embedder.digest, "faces": list_digest(faces), "views": views, "layout": LAYOUT}
    key = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]
    if not make and not (cache / key).exists():
        return None
    about = {"model_path": embedder.info.path, **of}
    return EmbeddingFile(cache / key, (len(faces), views, embedder.info.dim), about)


def list_digest(faces: Faces) -> str:
    """Of the names of the images and of the landmarks."""
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


def _crop(faces: Faces, images: Path, row: int, side: int) -> NDArray[np.uint8]:
    path = str(images / faces.names[row])
    image = read_file(path, lambda: path)
    try:
        pixels = decode(image)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    try:
        return align(pixels, faces.points[row], size=side)
    except UserError as error:
        raise UserError(f"{faces.where(row)}: {error}") from error


def _batches(rows: range, size: int) -> Iterator[range]:
    for start in range(rows.start, rows.stop, size):
        yield range(start, min(start + size, rows.stop))


def _views(
    embedder: Embedder, batch: NDArray[np.uint8], paths: Sequence[str], *, flip: bool
) -> NDArray[np.float32]:
    where, mirrored = paths.__getitem__, (False, True) if flip else (False,)
    views = [embedder.embed(batch, colour_order="RGB", flip=view, where=where) for view in mirrored]
    return np.stack(views, axis=1)
