"""The metrics that `Metric.Eval` of a config may name. numpy only."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated

from numpy.typing import ArrayLike

from plsc.config.registry import METRICS
from plsc.config.schema import Range
from plsc.recognition.metrics.folds import Accuracy, check_pairs
from plsc.recognition.metrics.roc import FARS, far_name
from plsc.recognition.metrics.verification import VerificationReport, verify

LOGGED_FAR = 1e-3  # the usual sets of 3000 impostor pairs just resolve it


class PairMetric(ABC):
    """Turn the embeddings of a verification set into a report and the scalars that a run records.

    Attributes:
        flip_test: true if the embeddings of the mirrored images are needed.
        nrof_folds: number of contiguous folds.
        accuracy_name: name of the accuracy that selects the best model.
        logged_threshold: name of the threshold that the log shows.

    """

    flip_test: bool
    nrof_folds: int
    accuracy_name: str
    logged_threshold: str

    def check(self, issame: ArrayLike) -> None:
        """Check, before hours of training, that a set with these pairs [P] can be evaluated."""
        check_pairs(issame, self.nrof_folds)

    @abstractmethod
    def report(
        self, embeddings: ArrayLike, flipped: ArrayLike | None, issame: ArrayLike, *, name: str = ""
    ) -> VerificationReport:
        """Evaluate one verification set by `verify` with these settings.

        Args:
            embeddings: [2P, d] as the backbone outputs them; rows 2i and 2i+1 are pair i.
            flipped: [2P, d], embeddings of the mirrored images; required if `flip_test` is on.
            issame: bool [P], true where a pair shows one person.
            name: name of the set.

        Raises:
            CollapsedEmbeddings, UserError: as in `verify`.

        """

    @abstractmethod
    def thresholds(self, accuracy: Accuracy) -> dict[str, float]:
        """Return the threshold that is best over all pairs, under its name in each unit."""

    def __call__(
        self, embeddings: ArrayLike, flipped: ArrayLike | None, issame: ArrayLike
    ) -> dict[str, float]:
        """Return the scalars of `report`.

        Returns:
            The accuracy and its `std` over the folds; `xnorm`, the mean length of the embeddings;
            the threshold that is best over all pairs; and `metric`, which repeats the accuracy and
            selects the best model. With flip, also `accuracy` and `accuracy_std` without flip.
            `val` at FAR 1e-3 over folds. Over all pairs `auc`, `eer`, and `tar@far=1e-1` and so on
            for the rates that the pairs resolve.

        Raises:
            CollapsedEmbeddings, UserError: as in `verify`.

        """
        return self.scalars(self.report(embeddings, flipped, issame))

    def scalars(self, report: VerificationReport) -> dict[str, float]:
        """Return the figures of `report` that a run records, as `__call__` describes them."""
        best = report.best_accuracy
        without = {"accuracy": report.accuracy.mean, "accuracy_std": report.accuracy.std}
        return {
            self.accuracy_name: best.mean,
            "std": best.std,
            "xnorm": report.xnorm,
            **self.thresholds(best),
            "metric": best.mean,
            **(without if report.flip else {}),
            "val": report.val.val,
            "auc": report.curve.auc,
            "eer": report.curve.eer.rate,
            **{
                f"tar@far={far_name(point.far)}": point.tar
                for point in report.points
                if point.tar is not None
            },
        }

    def shown(self, scalars: Mapping[str, float]) -> list[str]:
        """Return the names of the few `scalars` that fit into a line of the log.

        The TAR is the one at FAR 1e-3, or at the lowest rate that a smaller set resolves.
        """
        rates = [f"tar@far={far_name(far)}" for far in FARS if far >= LOGGED_FAR]
        hardest = [name for name in rates if name in scalars][-1:]
        return [self.accuracy_name, "std", "xnorm", *hardest, "eer", self.logged_threshold]


@METRICS.register
class LFWAcc(PairMetric):
    """Verification with the 10-fold accuracy of InsightFace's protocol, under PLSC's names.

    The accuracy is called `accuracy-flip`, or `accuracy` without flip. Its `threshold` is a squared
    distance of unit vectors; `threshold_cosine` is the same threshold as a cosine.

    Args:
        flip_test: add the embeddings of the mirrored images before normalising.
        nrof_folds: number of contiguous folds.
        pca: for the accuracies, project on this many principal components, which are fitted on the
            other folds; 0 turns it off.

    """

    logged_threshold = "threshold_cosine"

    def __init__(
        self,
        flip_test: bool = True,
        nrof_folds: Annotated[int, Range(2)] = 10,
        pca: Annotated[int, Range(0)] = 0,
    ):
        self.flip_test, self.nrof_folds, self.pca = flip_test, nrof_folds, pca
        self.accuracy_name = "accuracy-flip" if flip_test else "accuracy"

    def thresholds(self, accuracy: Accuracy) -> dict[str, float]:
        """Return the threshold as `PairMetric.thresholds` describes."""
        return {"threshold": accuracy.threshold, "threshold_cosine": accuracy.cosine}

    def report(
        self, embeddings: ArrayLike, flipped: ArrayLike | None, issame: ArrayLike, *, name: str = ""
    ) -> VerificationReport:
        """Evaluate one set as `PairMetric.report` describes."""
        assert flipped is not None or not self.flip_test, "flip_test needs mirrored embeddings"
        mirrored = flipped if self.flip_test else None
        return verify(
            embeddings, mirrored, issame, name=name, nrof_folds=self.nrof_folds, pca=self.pca
        )


@METRICS.register
class AngularAcc(PairMetric):
    """Verification with the 10-fold accuracy of MagFace's protocol, without mirrored images.

    The accuracy is called `accuracy-magface`. Its `threshold_angle` is in half turns and applies to
    embeddings less their mean, so it does not convert to a cosine that you can compare faces by.
    The other figures are those of `LFWAcc` without flip.

    Args:
        nrof_folds: number of contiguous folds.

    """

    flip_test = False
    accuracy_name = "accuracy-magface"
    logged_threshold = "threshold_angle"

    def __init__(self, nrof_folds: Annotated[int, Range(2)] = 10):
        self.nrof_folds = nrof_folds

    def thresholds(self, accuracy: Accuracy) -> dict[str, float]:
        """Return the threshold as `PairMetric.thresholds` describes."""
        return {"threshold_angle": accuracy.threshold}

    def report(
        self, embeddings: ArrayLike, flipped: ArrayLike | None, issame: ArrayLike, *, name: str = ""
    ) -> VerificationReport:
        """Evaluate one set as `PairMetric.report` describes; mirrored images are not used."""
        return verify(
            embeddings, None, issame, name=name, nrof_folds=self.nrof_folds, protocol="magface"
        )
