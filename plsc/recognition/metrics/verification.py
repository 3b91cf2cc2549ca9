"""Everything that is measured on one verification set. numpy only."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from plsc.recognition.metrics.angular import angular_accuracy
from plsc.recognition.metrics.folds import (
    Accuracy,
    Bools,
    CollapsedEmbeddings,
    Floats,
    ProtocolName,
    cosines,
    verification_accuracy,
)
from plsc.recognition.metrics.roc import FARS, OperatingPoint, RocCurve, far_name, roc_curve
from plsc.recognition.metrics.validation import Validation, val_at_far

__all__ = ["CollapsedEmbeddings", "VerificationReport", "thresholds_of", "verify"]


@dataclass(frozen=True, eq=False)
class VerificationReport:
    """The figures of embeddings on one verification set.

    With flip, all but `accuracy` is of the sums with the mirrored images' embeddings, because these
    are what a user of the thresholds compares.

    Attributes:
        name: of the set.
        accuracy: over folds, of the embeddings of the images as they are; names its protocol.
        accuracy_flip: over folds, of their sums with the mirrored images'; None without such.
        val: VAL at FAR 1e-3 over folds.
        xnorm: mean length of all embeddings, before anything is added or normalised.
        scores: [P] cosine of each pair.
        issame: [P] whether a pair shows one person.

    """

    name: str
    accuracy: Accuracy
    accuracy_flip: Accuracy | None
    val: Validation
    xnorm: float
    scores: Floats
    issame: Bools

    @property
    def flip(self) -> bool:
        """Tell whether the figures are of sums with the mirrored images' embeddings."""
        return self.accuracy_flip is not None

    @property
    def best_accuracy(self) -> Accuracy:
        """Return the accuracy to compare networks by: `accuracy_flip` if flip was asked for."""
        return self.accuracy_flip or self.accuracy

    @cached_property
    def curve(self) -> RocCurve:
        """ROC over all pairs, without folds; gives AUC and EER."""
        return roc_curve(self.scores, self.issame)

    @cached_property
    def points(self) -> tuple[OperatingPoint, ...]:
        """TAR and threshold at each of FARS."""
        return tuple(self.curve.at(far) for far in FARS)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it: everything but curve and scores."""
        return {
            "set": self.name,
            "pairs": len(self.issame),
            "impostors": self.curve.num_impostors,
            "flip": self.flip,
            "accuracy": self.accuracy.to_dict(),
            "accuracy_flip": self.accuracy_flip.to_dict() if self.accuracy_flip else None,
            "xnorm": self.xnorm,
            "val": asdict(self.val),
            "auc": self.curve.auc,
            "eer": self.curve.eer.to_dict(),
            "operating_points": [point.to_dict() for point in self.points],
        }


def verify(
    embeddings: ArrayLike,
    flipped: ArrayLike | None,
    issame: ArrayLike,
    *,
    name: str = "",
    nrof_folds: int = 10,
    pca: int = 0,
    protocol: ProtocolName = "insightface",
) -> VerificationReport:
    """Measure one verification set.

    Args:
        embeddings: [2P, d] as the backbone gives them; rows 2i and 2i+1 are pair i.
        flipped: [2P, d] of the mirrored images, or None: no flip test.
        issame: [P] whether a pair shows one person.
        name: of the set.
        nrof_folds: number of contiguous folds.
        pca: project on that many principal components, fitted on the other folds, for the
            accuracies; 0 is off.
        protocol: of the accuracies; all else is the same in both. `magface` knows neither mirrored
            images nor principal components.

    Raises:
        CollapsedEmbeddings: nothing to measure.
        UserError: fewer pairs than folds, or pairs of one kind only.

    """
    plain = rows = np.asarray(embeddings, np.float64)
    lengths = np.linalg.norm(plain, axis=1)
    if protocol == "magface":
        assert flipped is None and not pca, "magface: of the embeddings as they are"
        accuracy = angular_accuracy(plain, issame, nrof_folds=nrof_folds)
    else:
        accuracy = verification_accuracy(plain, issame, nrof_folds=nrof_folds, pca=pca)
    accuracy_flip = None
    if flipped is not None:
        mirrored = np.asarray(flipped, np.float64)
        lengths = np.concatenate([lengths, np.linalg.norm(mirrored, axis=1)])
        rows = plain + mirrored
        accuracy_flip = verification_accuracy(rows, issame, nrof_folds=nrof_folds, pca=pca)
    return VerificationReport(
        name=name,
        accuracy=accuracy,
        accuracy_flip=accuracy_flip,
        val=val_at_far(rows, issame, nrof_folds=nrof_folds),
        xnorm=float(lengths.mean()),
        scores=cosines(rows),
        issame=np.array(issame, bool),
    )


def thresholds_of(report: VerificationReport) -> dict[str, Any]:
    """Return the thresholds of `report` as plain data that a model can carry.

    Returns:
        `set`, its name; `flip`, whether embeddings are to be summed with the mirrored image's
        before they are compared; `far`, for each rate that the set resolves (`"1e-3"`): `cosine`
        (accept at or above it), `tar`, and `impostors`, the number of pairs the rate is of.

    """
    return {
        "set": report.name,
        "flip": report.flip,
        "far": {
            far_name(point.far): {
                "cosine": point.threshold.cosine,
                "tar": point.tar,
                "impostors": point.impostors,
            }
            for point in report.points
            if point.threshold is not None
        },
    }
