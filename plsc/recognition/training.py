"""Train a backbone under the Partial FC head and its class centres."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddle import Tensor, nn

from plsc.config.sections import Config
from plsc.data.loader.batch import Batch
from plsc.engine.dataset_pass import one_epoch
from plsc.engine.log import RunLog
from plsc.engine.training_task import StepLoss, StepReport, TrainingTask, Watcher
from plsc.errors import UserError
from plsc.recognition.finetune import load_head, set_class_means
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.magnitude_watch import MagnitudeWatch
from plsc.weights.weights import Weights

SAMPLE_RATIO = "sample_ratio"


class RecognitionTraining(TrainingTask):
    """A head over all classes as a TrainingTask; see `plsc.engine.training_task`.

    Args:
        head: Partial FC.
        config: says how the head begins.
        dataset: images with classes; None where neither `start` nor `notes` is called.

    """

    def __init__(self, head: PartialFC, config: Config | None = None, dataset: Any = None):
        self.head = head
        self.sharded = (head,)
        self._settings, self._config, self._dataset = (config or Config()).Global, config, dataset
        self.wants_upcoming = head.centres.prefetches
        self._batch_size = 0

    def start(self, weights: Weights | None, network: nn.Layer, folder: Path, log: RunLog) -> None:
        """Begin the head: as loaded, random, or with each class's mean embedding.

        Raises:
            UserError: the class centres do not fit.

        """
        if weights is not None:
            load_head(self.head.centres, weights, self._settings, log)
        if self._settings.head_init == "class_means":
            assert self._config is not None
            batches = one_epoch(self._dataset, self._config, shuffle=False)
            set_class_means(
                self.head.centres, network, batches, len(self._dataset), folder=folder, log=log
            )

    def begin_step(
        self, batch: Batch, *, step: int, fraction: float, upcoming: Batch | None = None
    ) -> None:
        """Share the labels of a step and take the class centres that it uses."""
        self._batch_size = len(batch)
        self.head.begin_step(batch["labels"], step=step, fraction=fraction)
        if upcoming is not None:  # where the ratio grows with the next step, a guess: read again
            self.head.prefetch(upcoming["labels"], step=step + 1, fraction=fraction)

    def loss(self, outputs: Tensor, part: Batch) -> StepLoss:
        """Return the part's share of the margin loss, the mean over all ranks' samples.

        Args:
            outputs: features [b, d].
            part: its labels are the next of the step's.

        """
        output, share = self.head(outputs, part["labels"]), len(part) / self._batch_size
        loss = output.loss if share == 1 else output.loss * share
        return StepLoss(loss, loss.detach(), output.statistics)

    def figures(self, fraction: float) -> dict[str, float]:
        """Return the share of the class centres that take part in a step."""
        return {SAMPLE_RATIO: self.head.ratio(fraction)}

    def tensors(self) -> dict[str, Tensor]:
        """Return the class centres of the step."""
        rows = self.head.rows
        return {} if rows is None else {self.head.name: rows.weight}

    def state(self) -> dict[str, Any]:
        """Return what the losses have learnt of the features."""
        return {"losses": [margin.state() for _, margin in self.head.losses]}

    def check_state(self, state: Mapping[str, Any], path: str) -> None:
        """Refuse a checkpoint of another number of classes.

        Raises:
            UserError: says how to start from its weights.

        """
        shard = self.head.centres.shard
        if state["num_classes"] != shard.num_rows:
            raise UserError(
                f"{path} has {state['num_classes']} classes, Model.class_num is "
                f"{shard.num_rows}: to fine-tune with other classes set "
                "Global.pretrained_model and Global.finetune=True"
            )

    def restore(self, state: Mapping[str, Any], path: str, log: RunLog) -> None:
        """Give the losses back what they had learnt, if they are the same losses."""
        states = state.get("losses") or []
        margins = [margin for _, margin in self.head.losses]
        if [sorted(each) for each in states] == [sorted(margin.state()) for margin in margins]:
            for margin, each in zip(margins, states, strict=True):
                margin.restore(each)
        elif any(margin.state() for margin in margins):
            log.line(f"WARNING: {path} was saved with another Loss.Train: its averages begin anew")

    def notes(self) -> list[str]:
        """Return what the losses say of their settings, and of classes without images."""
        said = [note for _, loss in self.head.losses for note in loss.notes()]
        have, centres = self._dataset.num_classes, self.head.centres.shard.num_rows
        if have is not None and have < centres:
            said.append(
                f"the training set has {have} classes, Model.class_num is {centres}: "
                f"{centres - have} class centres belong to nobody"
            )
        return said

    def describe(self, fraction: float) -> str:
        """Return how many classes there are, and how many a step uses."""
        centres = self.head.centres
        return (
            f"head: {centres.shard.num_rows} classes × {centres.dim}, "
            f"{centres.shard.num_local} on this rank, {self.head.num_sample(fraction)} of them "
            "used in a step"
        )

    def watchers(self, log: RunLog) -> list[Watcher]:
        """Return what judges magnitudes, and what tells that the sample ratio changed."""
        margins = [margin for _, margin in self.head.losses]
        frozen = self._settings.freeze_backbone
        return [
            MagnitudeWatch(log, margins, frozen=frozen),
            SampleRatioWatch(log, self.head.ratio()),
        ]


class SampleRatioWatch:
    """Says in the log that another share of the class centres takes part from now on."""

    def __init__(self, log: RunLog, first: float):
        self._log, self._ratio = log, first

    def __call__(self, report: StepReport, step: int) -> None:
        """Compare the ratio of a step with that of the step before."""
        before, self._ratio = self._ratio, report.figures[SAMPLE_RATIO]
        if self._ratio != before:
            self._log.line(f"sample_ratio {before:g} -> {self._ratio:g} at step {step}")
