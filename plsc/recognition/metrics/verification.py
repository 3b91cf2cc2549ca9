"""Compute all figures of one verification set. numpy only."""

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

    With flip, all figures except `accuracy` rest on the sum of each embedding with that of the
    mirrored image, because users of the thresholds compare these sums.

    Attributes:
        name: name of the set.
        accuracy: accuracy over folds without mirrored images; it names its protocol.
        accuracy_flip: accuracy over folds of the sums with mirrored images; None without flip.
        val: VAL at FAR 1e-3 over folds.
        xnorm: mean length of all embeddings, before they are added or normalised.
        scores: [P], the cosine of each pair.
        issame: bool [P], true where a pair shows one person.

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
        """Return true if the figures rest on sums with the embeddings of mirrored images."""
        return self.accuracy_flip is not None

    @property
    def best_accuracy(self) -> Accuracy:
        """Return the accuracy to compare networks by: `accuracy_flip` if there is one."""
        return self.accuracy_flip or self.accuracy

    @cached_property
    def curve(self) -> RocCurve:
        """Return the ROC curve over all pairs, without folds; it yields AUC and EER."""
        return roc_curve(self.scores, self.issame)

    @cached_property
    def points(self) -> tuple[OperatingPoint, ...]:
        """Return TAR and threshold at each of FARS."""
        return tuple(self.curve.at(far) for far in FARS)

    def to_dict(self) -> dict[str, Any]:
        """Return the report without curve and scores as a dictionary for JSON."""
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
    """Evaluate one verification set.

    Args:
        embeddings: [2P, d] as the backbone outputs them; rows 2i and 2i+1 are pair i.
        flipped: [2P, d], embeddings of the mirrored images; None for no flip test.
        issame: bool [P], true where a pair shows one person.
        name: name of the set.
        nrof_folds: number of contiguous folds.
        pca: for the accuracies, project on this many principal components, which are fitted on the
            other folds; 0 turns it off.
        protocol: protocol of the accuracies; the other figures do not depend on it. `magface`
            supports neither mirrored images nor principal components.

    Raises:
        CollapsedEmbeddings: the embeddings are not finite, or alike for all images.
        UserError: there are fewer pairs than folds, or pairs of one kind only.

    """
    plain = rows = np.asarray(embeddings, np.float64)
    lengths = np.linalg.norm(plain, axis=1)
    if protocol == "magface":
        assert flipped is None and not pca, "magface takes neither mirrored images nor pca"
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
        `set`: the name. `flip`: true if an embedding must be summed with that of the mirrored image
        before it is compared. `far`: for each rate that the set resolves (`"1e-3"`) the `cosine`
        (accept at or above it), the `tar`, and `impostors`, the number of pairs behind the rate.

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
