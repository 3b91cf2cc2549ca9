"""The IJB-B and IJB-C protocols on features of faces: templates, 1:1 scores, TPR at FPR.

Whitelam et al., "IARPA Janus Benchmark-B Face Dataset", CVPRW 2017; Maze et al., "IARPA Janus
Benchmark-C", ICB 2018; pooling, scores and the reading of the ROC curve as InsightFace does them.
A template is the set of one person's faces that is compared as one; its faces come from media
(a photo, a video), of which each counts once. numpy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plsc.errors import UserError
from plsc.metric.roc import RocCurve, Threshold

Floats = NDArray[np.float32]
Integers = NDArray[np.integer]

FPR_TARGETS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
POOLED_FACES = 8192  # at once
BLOCK_TEMPLATES = 256  # their scores with all others stay in the processor's cache
GATHERED_PAIRS = 1024  # likewise
GATHER_COST = 32  # of a pair scored by itself, in elements of a matrix product
LARGEST_TABLE = 1 << 26  # entries, where template ids are looked up


class FaceFeatures(Protocol):
    """What `pool_templates` reads: an array, a memory map, or a file that is read in slices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, d], or [n, 2, d] with those of the mirrored faces."""

    def __getitem__(self, rows: slice, /) -> NDArray[np.floating]:
        """Consecutive faces."""


@dataclass(frozen=True)
class Templates:
    """Templates of faces, ready to be compared.

    Attributes:
        ids: int64 [T], ascending.
        vectors: float32 [T, d], of length 1; zero where all features of a template are.

    """

    ids: NDArray[np.int64]
    vectors: Floats

    def rows(self, ids: ArrayLike, what: str = "pair list") -> NDArray[np.int32]:
        """Where these template ids [n] are, int32 [n]; see `rows_of_templates`."""
        return rows_of_templates(self.ids, ids, what)


def rows_of_templates(known: NDArray[np.integer], ids: ArrayLike, what: str) -> NDArray[np.int32]:
    """Where `ids` [n] are in `known` [T, ascending], int32 [n].

    Raises:
        UserError: a template is not known; `what` says who asks for it.

    """
    wanted = np.asarray(ids)
    low, extent = np.int64(known[0]), int(known[-1]) - int(known[0]) + 1
    if extent <= LARGEST_TABLE:  # a search takes twenty times as long
        table = np.full(extent, -1, np.int32)
        table[known - low] = np.arange(len(known), dtype=np.int32)
        place = wanted - low
        found = table.take(place, mode="clip")
        found[(place < 0) | (place >= extent)] = -1
    else:
        place = np.searchsorted(known, wanted)
        found = np.minimum(place, len(known) - 1).astype(np.int32)
        found[known[found] != wanted] = -1
    unknown = np.flatnonzero(found < 0)
    if len(unknown):
        names = np.unique(wanted[unknown])
        raise UserError(
            f"{what}: template {wanted[unknown[0]]} (entry {unknown[0] + 1}) has no faces; "
            f"{len(names)} of the templates there have none: are the files of one release?"
        )
    return found


def pool_templates(
    features: FaceFeatures,
    template_ids: ArrayLike,
    media_ids: ArrayLike,
    *,
    detector_scores: ArrayLike | None = None,
    flip: bool = True,
) -> Templates:
    """Add up features by template, each medium by its mean, and bring the sums to length 1.

    Features are read once, in order, a few thousand faces at a time.

    Args:
        features: [n, 2, d], of each face and its mirror image as the model gives them, not
            normalised; or [n, d].
        template_ids: int [n], the template that a face belongs to.
        media_ids: int [n], the medium that it was seen in.
        detector_scores: [n], by which its features are multiplied.
        flip: add the mirror image's features, if `features` has them.

    Raises:
        UserError: there are no faces, or features are not finite.

    """
    count, width = features.shape[0], features.shape[-1]
    ids, rows = np.unique(np.asarray(template_ids, np.int64), return_inverse=True)
    assert len(rows) == len(np.asarray(media_ids)) == count, (features.shape, len(rows))
    if not count:
        raise UserError("there are no faces to make templates of")
    # The mean of a medium and the sum of media are one weighted sum of faces.
    weights = 1 / _faces_of_medium(rows, np.asarray(media_ids))
    if detector_scores is not None:
        weights *= np.asarray(detector_scores, np.float64)
    sums = np.zeros((len(ids), width), np.float32)
    for start in range(0, count, POOLED_FACES):
        part = slice(start, min(start + POOLED_FACES, count))
        faces = np.asarray(features[part], np.float32).reshape(part.stop - start, -1, width)
        _add_faces(sums, faces[:, : 2 if flip else 1], rows[part], weights[part])
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        bad = ids[~np.isfinite(lengths[:, 0])]
        raise UserError(
            f"features or detector scores of {len(bad)} templates are not finite, the first is "
            f"template {bad[0]}: does the model give NaN?"
        )
    sums /= np.where(lengths > 0, lengths, 1)
    return Templates(ids, sums)


def _faces_of_medium(template_rows: Integers, media_ids: Integers) -> NDArray[np.int64]:
    """How many faces of the same template and medium there are, for each face [n]."""
    media, columns = np.unique(media_ids, return_inverse=True)
    keys = template_rows.astype(np.int64) * len(media) + columns
    _, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return counts[which]


def _add_faces(sums: Floats, faces: Floats, rows: Integers, weights: NDArray[np.float64]) -> None:
    """Add `faces` [b, k, d], weighted [b], to the `rows` [b] of `sums` [T, d]."""
    if (rows[1:] < rows[:-1]).any():
        order = np.argsort(rows, kind="stable")
        faces, rows, weights = faces[order], rows[order], weights[order]
    views = faces.shape[1]
    stacked = faces.reshape(-1, faces.shape[2])
    factors = np.repeat(weights.astype(np.float32), views)
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    ends = np.append(begins[1:], len(rows)) * views
    # A product per template: add.reduceat takes thirty times as long.
    for row, begin, end in zip(
        rows[begins].tolist(), (begins * views).tolist(), ends.tolist(), strict=True
    ):
        sums[row] += factors[begin:end] @ stacked[begin:end]


def pair_scores(templates: Templates, first_ids: ArrayLike, second_ids: ArrayLike) -> Floats:
    """Cosines of pairs of templates, float32 [P], in their order.

    Pairs that fill a part of the matrix of all pairs are read from a matrix product, block by
    block; others are computed one by one.

    Args:
        templates: the templates.
        first_ids: int [P], a pair's first template.
        second_ids: int [P], its second.

    Raises:
        UserError: a template of the pairs has no faces.

    """
    first, second = templates.rows(first_ids), templates.rows(second_ids)
    assert len(first) == len(second), (len(first), len(second))
    (left, first), (right, second) = (_used(templates.vectors, rows) for rows in (first, second))
    if len(left) == len(right) == len(templates.ids):  # all with all: half of it is enough
        first, second = np.minimum(first, second), np.maximum(first, second)
    blocks = first // BLOCK_TEMPLATES
    blocks = blocks.astype(np.uint16) if len(left) >> 16 < BLOCK_TEMPLATES else blocks
    order = np.argsort(blocks, kind="stable")
    ends = np.cumsum(np.bincount(blocks))
    scores = np.empty(len(first), np.float32)
    for number, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        if begin == end:
            continue
        pairs, start = order[begin:end], number * BLOCK_TEMPLATES
        scores[pairs] = _block_scores(
            left[start : start + BLOCK_TEMPLATES], right, first[pairs] - start, second[pairs]
        )
    return scores


def _used(vectors: Floats, rows: NDArray[np.int32]) -> tuple[Floats, NDArray[np.int32]]:
    """The vectors that `rows` [P] name, and where among them each of `rows` is."""
    used = np.bincount(rows, minlength=len(vectors)) > 0
    if used.all():
        return vectors, rows
    return vectors[used], (np.cumsum(used, dtype=np.int32) - 1)[rows]


def _block_scores(left: Floats, right: Floats, first: Integers, second: Integers) -> Floats:
    """Dot products of `left[first]` and `right[second]`."""
    low, high = int(second.min()), int(second.max()) + 1
    if len(left) * (high - low) <= GATHER_COST * len(first):
        cosines = left @ right[low:high].T
        scores: Floats = cosines.ravel()[first.astype(np.int64) * (high - low) + (second - low)]
        return scores
    scores = np.empty(len(first), np.float32)
    for start in range(0, len(first), GATHERED_PAIRS):
        part = slice(start, start + GATHERED_PAIRS)
        scores[part] = np.einsum("pd,pd->p", left[first[part]], right[second[part]])
    return scores


@dataclass(frozen=True)
class NearestPoint:
    """The point of a ROC curve whose FPR is nearest to the one asked for, above or below it.

    Attributes:
        target: the FPR asked for.
        fpr: share of impostor pairs accepted.
        tpr: share of same pairs accepted.
        threshold: pairs are accepted at or above it.

    """

    target: float
    fpr: float
    tpr: float
    threshold: Threshold

    def to_dict(self) -> dict[str, float]:
        """As JSON has it."""
        point = {"target": self.target, "fpr": self.fpr, "tpr": self.tpr}
        return point | self.threshold.to_dict()


def tpr_at_fpr(curve: RocCurve, targets: Sequence[float] = FPR_TARGETS) -> list[NearestPoint]:
    """Read a ROC curve as tables of IJB results do.

    Of equally near points it is the one with the largest TPR; nothing is interpolated. Only those
    points count that `roc_curve` of scikit-learn keeps: it drops a threshold where the step to it
    adds as many same and as many impostor pairs as the step from it, which can decide what is near.
    """
    same, impostors = curve.accepted_same, curve.accepted_impostors
    kept = np.ones(len(curve.scores), bool)
    # The first point accepts nobody: scikit-learn adds it after it has dropped others.
    kept[2:-1] = np.diff(impostors[1:], 2) != 0
    kept[2:-1] |= np.diff(same[1:], 2) != 0
    places = np.flatnonzero(kept)[::-1]  # so that argmin gives the last of equals
    fprs = impostors[places] / curve.num_impostors
    points = []
    for target in targets:
        place = places[np.argmin(np.abs(fprs - target))]
        points.append(
            NearestPoint(
                target=float(target),
                fpr=int(impostors[place]) / curve.num_impostors,
                tpr=int(same[place]) / curve.num_same,
                threshold=Threshold(float(curve.scores[place])),
            )
        )
    return points
