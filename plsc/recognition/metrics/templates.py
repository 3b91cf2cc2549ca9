"""Templates of faces by the IJB protocols, and the ways to pool faces into a template.

A template is a set of faces of one person that is compared as a whole. Its faces come from media
(a photograph, a video), each of which counts once. InsightFace pools by magnitude. MagFace (Meng et
al., CVPR 2021) pools by magnitude with quality, and by media without. numpy only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plsc.errors import UserError

Floats = NDArray[np.float32]
Integers = NDArray[np.integer]
Pooling = Literal["magnitude", "mean", "media", "score"]
Quality = Callable[[NDArray[np.float64]], NDArray[np.float64]]

POOLINGS: tuple[Pooling, ...] = ("magnitude", "mean", "media", "score")
LEAST_SCORE = 1.0
POOLED_FACES = 8192  # faces read at a time
LARGEST_TABLE = 1 << 26  # entries of the lookup table of template ids


class FaceFeatures(Protocol):
    """The input of `pool_templates`: an array, a memory map, or a file that is read in slices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return [n, d], or [n, 2, d] with the features of the mirrored faces."""

    def __getitem__(self, rows: slice, /) -> NDArray[np.floating]:
        """Return the features of consecutive faces."""


@dataclass(frozen=True)
class Templates:
    """Templates of faces, ready to compare.

    Attributes:
        ids: int64 [T], ascending.
        vectors: float32 [T, d], of length 1; zero where all features of a template are zero.

    """

    ids: NDArray[np.int64]
    vectors: Floats

    def rows(self, ids: ArrayLike, what: str = "pair list") -> NDArray[np.int32]:
        """Return the rows of these template ids [n], int32 [n], as `rows_of_templates` does."""
        return rows_of_templates(self.ids, ids, what)


def rows_of_templates(
    template_ids: NDArray[np.integer], ids: ArrayLike, what: str
) -> NDArray[np.int32]:
    """Return the row of each of `ids` [n] in `template_ids` [T, ascending], int32 [n].

    Raises:
        UserError: an id is not among `template_ids`; the message begins with `what`.

    """
    wanted = np.asarray(ids)
    low, extent = np.int64(template_ids[0]), int(template_ids[-1]) - int(template_ids[0]) + 1
    if extent <= LARGEST_TABLE:  # a binary search takes twenty times as long
        table = np.full(extent, -1, np.int32)
        table[template_ids - low] = np.arange(len(template_ids), dtype=np.int32)
        offset = wanted - low
        rows = table.take(offset, mode="clip")
        rows[(offset < 0) | (offset >= extent)] = -1
    else:
        after = np.searchsorted(template_ids, wanted)
        rows = np.minimum(after, len(template_ids) - 1).astype(np.int32)
        rows[template_ids[rows] != wanted] = -1
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        names = np.unique(wanted[unknown])
        raise UserError(
            f"{what}: template {wanted[unknown[0]]} (entry {unknown[0] + 1}) has no faces; "
            f"{len(names)} of the templates there have none: are the files of one release?"
        )
    return rows


def pool_templates(
    features: FaceFeatures,
    template_ids: ArrayLike,
    media_ids: ArrayLike,
    *,
    pooling: Pooling = "magnitude",
    quality: Quality | None = None,
    detector_scores: ArrayLike | None = None,
    flip: bool = True,
) -> Templates:
    """Sum the mean features of each medium by template, and normalise the sums to length 1.

    Features are read once, in order, a few thousand faces at a time.

    Args:
        features: [n, 2, d], the features of each face and its mirror image as the model outputs
            them, not normalised; or [n, d].
        template_ids: int [n], the template of each face.
        media_ids: int [n], the medium of each face.
        pooling: the summand of a face. `magnitude`: its features as they are, so that long ones
            count more. `mean`: its features at length 1. `media`: its features as they are, and
            the mean of each medium is normalised to length 1. `score`: its features at length 1,
            weighted by `quality`.
        quality: a function from magnitudes [b] to scores [b] from 0 to 100; required for `score`.
            The magnitudes are those of the upright faces, even if mirrored ones are added. Scores
            below 1 count as 1, so that the worst faces still make a template.
        detector_scores: [n], factors for the features of each face, whatever the pooling.
        flip: add the features of the mirror image, if `features` has them, before all else.

    Raises:
        UserError: there are no faces, or the features are not finite.

    """
    assert (quality is not None) == (pooling == "score"), pooling
    count, width = features.shape[0], features.shape[-1]
    ids, rows = np.unique(np.asarray(template_ids, np.int64), return_inverse=True)
    assert len(rows) == len(np.asarray(media_ids)) == count, (features.shape, len(rows))
    if not count:
        raise UserError("there are no faces to make templates of")
    media = _media_of_templates(rows, np.asarray(media_ids))
    # The mean of a medium and the sum of media are one weighted sum of faces.
    weights = 1 / np.bincount(media)[media]
    if detector_scores is not None:
        weights *= np.asarray(detector_scores, np.float64)
    sums = np.zeros((len(ids), width), np.float32)
    unfinished = _UnfinishedMedia(media, rows) if pooling == "media" else None
    for start in range(0, count, POOLED_FACES):
        part = slice(start, min(start + POOLED_FACES, count))
        views = np.asarray(features[part], np.float32).reshape(part.stop - start, -1, width)
        faces, factors = views[:, : 2 if flip else 1], weights[part]
        if pooling in ("mean", "score"):
            factors = factors * _inverse(_lengths(faces.sum(axis=1)))
        if quality is not None:
            factors *= np.maximum(quality(_lengths(faces[:, 0])), LEAST_SCORE)
        if unfinished is None:
            _add_faces(sums, faces, rows[part], factors)
        else:
            finished, owners = unfinished.add(faces, factors, part)
            _add_faces(sums, finished[:, None], owners, _inverse(_lengths(finished)))
    return _at_length_one(ids, sums)


def _at_length_one(ids: NDArray[np.int64], sums: Floats) -> Templates:
    """Normalise `sums` [T, d] to length 1 in place; return them as templates."""
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        bad = ids[~np.isfinite(lengths[:, 0])]
        raise UserError(
            f"features or detector scores of {len(bad)} templates are not finite, the first is "
            f"template {bad[0]}: does the model give NaN?"
        )
    sums /= np.where(lengths > 0, lengths, 1)
    return Templates(ids, sums)


def _lengths(vectors: Floats) -> NDArray[np.float64]:
    return np.sqrt(np.einsum("nd,nd->n", vectors, vectors), dtype=np.float64)


def _inverse(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the factors that scale vectors of `lengths` [n] to length 1; zero stays zero."""
    return 1 / np.where(lengths == 0, 1, lengths)


def _media_of_templates(template_rows: Integers, media_ids: Integers) -> NDArray[np.int64]:
    """Return a number from 0 for each face [n]; faces of one template and medium share it."""
    media, columns = np.unique(media_ids, return_inverse=True)
    keys = template_rows.astype(np.int64) * len(media) + columns
    return np.unique(keys, return_inverse=True)[1]


class _UnfinishedMedia:
    """Sums of the media whose last face has not been read yet.

    Keeping the sums of all media would need many times the memory.

    Args:
        media: int [n], the number of each face's medium, from 0.
        template_rows: int [n], the row of each face's template.

    """

    def __init__(self, media: Integers, template_rows: Integers):
        self._media, self._template_rows = media, template_rows
        self._last = np.zeros(int(media.max()) + 1, np.int64)
        np.maximum.at(self._last, media, np.arange(len(media)))
        self._sums: dict[int, Floats] = {}

    def add(
        self, faces: Floats, weights: NDArray[np.float64], part: slice
    ) -> tuple[Floats, Integers]:
        """Add the faces [b, k, d] of the next `part`, weighted by `weights` [b].

        Returns:
            sums: float32 [m, d], the sums of the media that are complete now.
            template_rows: int [m], the row of each of their templates.

        """
        numbers, rows = np.unique(self._media[part], return_inverse=True)
        sums = np.zeros((len(numbers), faces.shape[2]), np.float32)
        _add_faces(sums, faces, rows, weights)
        for row, number in enumerate(numbers.tolist()):
            if number in self._sums:
                sums[row] += self._sums.pop(number)
        last = self._last[numbers]
        finished = last < part.stop
        for row in np.flatnonzero(~finished).tolist():
            self._sums[int(numbers[row])] = sums[row].copy()
        return sums[finished], self._template_rows[last[finished]]


def _add_faces(sums: Floats, faces: Floats, rows: Integers, weights: NDArray[np.float64]) -> None:
    """Add `faces` [b, k, d], weighted by `weights` [b], to `rows` [b] of `sums` [T, d]."""
    if not len(rows):
        return
    if (rows[1:] < rows[:-1]).any():
        order = np.argsort(rows, kind="stable")
        faces, rows, weights = faces[order], rows[order], weights[order]
    views = faces.shape[1]
    stacked = faces.reshape(-1, faces.shape[2])
    factors = np.repeat(weights.astype(np.float32), views)
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    ends = np.append(begins[1:], len(rows)) * views
    # One product per template, because add.reduceat takes thirty times as long.
    for row, begin, end in zip(
        rows[begins].tolist(), (begins * views).tolist(), ends.tolist(), strict=True
    ):
        sums[row] += factors[begin:end] @ stacked[begin:end]
