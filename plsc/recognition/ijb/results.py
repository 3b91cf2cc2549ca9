"""Evaluate the embeddings of a release, 1:1 and 1:N."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.recognition.ijb.protocol import Release
from plsc.recognition.ijb.search_files import Searches, Subjects
from plsc.recognition.metrics.identification import Identification, identification, mean_of
from plsc.recognition.metrics.ijb import NearestPoint, pair_scores, tpr_at_fpr
from plsc.recognition.metrics.roc import RocCurve, roc_curve
from plsc.recognition.metrics.templates import (
    FaceFeatures,
    Pooling,
    Quality,
    Templates,
    pool_templates,
)

MEAN = "mean"
SCORE_ROUNDING = 1e-6  # scores of equal vectors differ by no more


@dataclass(frozen=True)
class Results:
    """The figures of a model on a release.

    Attributes:
        scores: float32 [P], in the order of the pair list.
        curve: the ROC curve of the scores.
        points: TPR at the usual FPRs.
        searches: gallery -> 1:N results. With several galleries, also their mean and the results in
            all galleries as one. Empty if the release has no 1:N files.
        num_templates: number of templates.
        seconds: part of the evaluation -> its time in seconds.

    """

    scores: NDArray[np.float32]
    curve: RocCurve
    points: list[NearestPoint]
    searches: Mapping[str, Identification]
    num_templates: int
    seconds: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return all figures except the scores as a dictionary for JSON."""
        return {
            "num_templates": self.num_templates,
            "num_same_pairs": self.curve.num_same,
            "num_impostor_pairs": self.curve.num_impostors,
            "tpr_at_fpr": {str(point.target): point.tpr for point in self.points},
            "points": [point.to_dict() for point in self.points],
            "auc": self.curve.auc,
            "eer": self.curve.eer.to_dict(),
            "identification": {name: one.to_dict() for name, one in self.searches.items()},
        }


def evaluate(
    release: Release,
    embeddings: FaceFeatures,
    *,
    flip: bool,
    detector_score: bool,
    pooling: Pooling = "magnitude",
    quality: Quality | None = None,
) -> Results:
    """Pool templates, score the pairs, compute the TPR table, and search the probes.

    Args:
        release: the lists of the release.
        embeddings: float32 [n, views, d], the embeddings of its faces.
        flip: add the embeddings of the mirrored images.
        detector_score: multiply the embedding of a face by its detector score.
        pooling: method that pools faces to templates; see `pool_templates`.
        quality: quality function for pooling by score.

    Raises:
        UserError: the embeddings are not finite, or alike for all faces.

    """
    seconds: dict[str, float] = {}
    faces, pairs = release.faces, release.pairs
    with _timed(seconds, "pooling"):
        templates = pool_templates(
            embeddings,
            faces.templates,
            faces.media,
            pooling=pooling,
            quality=quality,
            detector_scores=faces.detector_scores if detector_score else None,
            flip=flip,
        )
    with _timed(seconds, "scoring"):
        scores = pair_scores(templates, pairs.first, pairs.second)
    if np.ptp(scores) < SCORE_ROUNDING:
        raise UserError(
            f"all {len(scores)} pairs score {scores[0]:.4f}: the model tells no two faces apart"
        )
    with _timed(seconds, "table"):
        curve = roc_curve(scores, pairs.same)
        points = tpr_at_fpr(curve)
    with _timed(seconds, "identification"):
        searches = _search(templates, release.searches)
    return Results(scores, curve, points, searches, len(templates.ids), seconds)


def _search(templates: Templates, searches: Searches) -> dict[str, Identification]:
    """Search each gallery alone, as the protocol does for their mean, and all galleries as one."""
    probes, galleries = searches.probes, searches.galleries
    if probes is None or not galleries:
        return {}
    vectors = templates.vectors
    searched = vectors[templates.rows(probes.templates)]

    def search(gallery: Subjects) -> Identification:
        members = vectors[templates.rows(gallery.templates)]
        return identification(searched, probes.subjects, members, gallery.subjects)

    results = {gallery.name: search(gallery) for gallery in galleries}
    if len(galleries) > 1:
        results[MEAN] = mean_of(list(results.values()))
        together = Subjects(
            file=probes.file,
            name="+".join(gallery.name for gallery in galleries),
            templates=np.concatenate([gallery.templates for gallery in galleries]),
            subjects=np.concatenate([gallery.subjects for gallery in galleries]),
        )
        results[together.name] = search(together)
    return results


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[part] = round(time.perf_counter() - began, 3)
