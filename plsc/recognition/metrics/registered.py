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
    """Embeddings of a verification set -> a report, and the scalars of it that a run records.

    Attributes:
        flip_test: whether the mirrored images' embeddings are needed.
        nrof_folds: number of contiguous folds.
        accuracy_name: of the accuracy that selects the best model.
        logged_threshold: name of the threshold that a line of the log shows.

    """

    flip_test: bool
    nrof_folds: int
    accuracy_name: str
    logged_threshold: str

    def check(self, issame: ArrayLike) -> None:
        """Check, before hours of training, that a set of these pairs [P] can be measured."""
        check_pairs(issame, self.nrof_folds)

    @abstractmethod
    def report(
        self, embeddings: ArrayLike, flipped: ArrayLike | None, issame: ArrayLike, *, name: str = ""
    ) -> VerificationReport:
        """Measure one verification set: `verify` with these settings.

        Args:
            embeddings: [2P, d] as the backbone gives them; rows 2i and 2i+1 are pair i.
            flipped: [2P, d] of the mirrored images; needed where `flip_test` is on.
            issame: [P] whether a pair shows one person.
            name: of the set.

        Raises:
            CollapsedEmbeddings, UserError: as `verify`.

        """

    @abstractmethod
    def thresholds(self, accuracy: Accuracy) -> dict[str, float]:
        """Return the threshold that is best over all pairs, by name."""

    def __call__(
        self, embeddings: ArrayLike, flipped: ArrayLike | None, issame: ArrayLike
    ) -> dict[str, float]:
        """Return the scalars of `report`.

        Returns:
            The accuracy and `std` over the folds; `xnorm`, the mean length of the embeddings; the
            threshold that is best over all pairs; `metric`, the accuracy once more, which selects
            the best model. With flip also `accuracy` and `accuracy_std` without it. `val` at FAR
            1e-3 over folds; over all pairs `auc`, `eer`, and `tar@far=1e-1` and so on where the
            pairs resolve it.

        Raises:
            CollapsedEmbeddings, UserError: as `verify`.

        """
        return self.scalars(self.report(embeddings, flipped, issame))

    def scalars(self, report: VerificationReport) -> dict[str, float]:
        """Return the figures of `report` that a run records, see `__call__`."""
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
        """Return the names of the few `scalars` that a line of the log has room for.

        The TAR is that at FAR 1e-3, or at the lowest rate that a smaller set resolves.
        """
        rates = [f"tar@far={far_name(far)}" for far in FARS if far >= LOGGED_FAR]
        hardest = [name for name in rates if name in scalars][-1:]
        return [self.accuracy_name, "std", "xnorm", *hardest, "eer", self.logged_threshold]


@METRICS.register
class LFWAcc(PairMetric):
    """Verification with the 10-fold accuracy of InsightFace's protocol, under PLSC's names.

    The accuracy is `accuracy-flip`, or `accuracy` without flip; its `threshold` is a squared
    distance of unit vectors, `threshold_cosine` the cosine that is the same.

    Args:
        flip_test: add the embeddings of the mirrored images before normalising.
        nrof_folds: number of contiguous folds.
        pca: project on that many principal components, fitted on the other folds, for the
            accuracies; 0 is off.

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
        """See `PairMetric.thresholds`."""
        return {"threshold": accuracy.threshold, "threshold_cosine": accuracy.cosine}

    def report(
        self, embeddings: ArrayLike, flipped: ArrayLike | None, issame: ArrayLike, *, name: str = ""
    ) -> VerificationReport:
        """See `PairMetric.report`."""
        assert flipped is not None or not self.flip_test, "flip_test needs mirrored embeddings"
        mirrored = flipped if self.flip_test else None
        return verify(
            embeddings, mirrored, issame, name=name, nrof_folds=self.nrof_folds, pca=self.pca
        )


@METRICS.register
class AngularAcc(PairMetric):
    """Verification with the 10-fold accuracy of MagFace's protocol; of the images as they are.

    The accuracy is `accuracy-magface`; its `threshold_angle` is in half turns, of embeddings less
    their mean: no cosine to judge by. The other figures are those of `LFWAcc` without flip.

    Args:
        nrof_folds: number of contiguous folds.

    """

    flip_test = False
    accuracy_name = "accuracy-magface"
    logged_threshold = "threshold_angle"

    def __init__(self, nrof_folds: Annotated[int, Range(2)] = 10):
        self.nrof_folds = nrof_folds

    def thresholds(self, accuracy: Accuracy) -> dict[str, float]:
        """See `PairMetric.thresholds`."""
        return {"threshold_angle": accuracy.threshold}

    def report(
        self, embeddings: ArrayLike, flipped: ArrayLike | None, issame: ArrayLike, *, name: str = ""
    ) -> VerificationReport:
        """See `PairMetric.report`; the mirrored images' embeddings are left out."""
        return verify(
            embeddings, None, issame, name=name, nrof_folds=self.nrof_folds, protocol="magface"
        )
