"""Face detection as a task of the engine. Importing it imports neither numpy nor paddle."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plsc.config.load import require
from plsc.config.registry import DATASETS, DETECTORS, TASKS
from plsc.config.sections import Config
from plsc.detection.sections import SECTIONS
from plsc.engine.task import TaskType
from plsc.errors import UserError

if TYPE_CHECKING:
    from paddle import nn

    from plsc.data.loader.batches import TrainingSet
    from plsc.detection.training import DetectionTraining
    from plsc.engine.task import Evaluator
    from plsc.export.spec import ExportSpec


class Detection(TaskType):
    """Trains a network that finds faces and their landmarks; see `plsc.engine.task.TaskType`."""

    sections = SECTIONS

    def check(self, config: Config) -> None:
        """Check the name and parameters of the detector.

        Raises:
            UserError: the first that is wrong.

        """
        if config.Model is not None:
            config.Model.detector.check(DETECTORS)

    def check_training(self, config: Config) -> None:
        """Check that a detector and its loss are named, and that there is something to train.

        Raises:
            UserError: a section is missing, or the config asks for what only recognition has.

        """
        require(config.Model, "Model", "training")
        require(config.Loss, "Loss", "training")
        path = config.Model.body_weights
        if path is not None and not Path(path).is_file():
            raise UserError(f"Model.body_weights: {path}: no such file")
        if config.Global.freeze_backbone:
            raise UserError(
                "Global.freeze_backbone leaves a detector nothing to train: remove it, or set "
                "Global.task_type=recognition"
            )

    def network(self, config: Config) -> "nn.Layer":
        """Return the detector of the config, its weights random."""
        found: nn.Layer = config.Model.detector.build(DETECTORS)
        return found

    def training(
        self,
        config: Config,
        network: "nn.Layer",
        dataset: "TrainingSet",
        state_names: Sequence[str],
    ) -> "DetectionTraining":
        """Return the loss over anchors; see `plsc.detection.losses`."""
        from plsc.detection.training import DetectionTraining

        return DetectionTraining(config.Loss, config.Model.body_weights)

    def evaluators(self, config: Config) -> "Sequence[Evaluator]":
        """Return an evaluator for each set of DataLoader.Eval."""
        from plsc.detection.evaluator import evaluators_of

        data = require(config.DataLoader.Eval, "DataLoader.Eval", "evaluation")
        datasets = [dataset.build(DATASETS) for dataset in data.dataset]
        return evaluators_of(datasets, [dataset.key for dataset in data.dataset])

    def export_spec(
        self, config: Config, network: "nn.Layer", state: Mapping[str, Any], source: str
    ) -> "ExportSpec":
        """Return how a detector is exported: images of any size -> the values of all anchors."""
        from plsc.detection.export_spec import export_spec

        return export_spec(config, source)

    def write_report(
        self,
        config: Config,
        source: str,
        precision: str,
        network: "nn.Layer",
        measured: Sequence[tuple[Any, Any]],
        outputs: Any,
    ) -> None:
        """Print a table for each set and write the JSON that `outputs` asks for.

        Raises:
            UserError: a page is asked for, which there is none of.

        """
        from plsc.detection import report

        report.write(config.Model.name, source, precision, measured, outputs.json)
        if outputs.report is not None:
            raise UserError("--report writes pages of face recognition only: leave it out")


@TASKS.register
def detection() -> Detection:
    """Return face detection."""
    return Detection()
