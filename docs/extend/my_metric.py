"""A metric of your own: LFW's figures, but the equal error rate chooses the best model."""

from plsc.config.registry import METRICS
from plsc.recognition.metrics.registered import LFWAcc
from plsc.recognition.metrics.verification import VerificationReport


@METRICS.register
class LowestEER(LFWAcc):
    """As LFWAcc; `metric`, whose largest value becomes `best_model`, is 1 − EER."""

    def scalars(self, report: VerificationReport) -> dict[str, float]:
        return {**super().scalars(report), "metric": 1 - report.curve.eer.rate}
