"""Face recognition as a task of the engine. Importing it imports neither numpy nor paddle."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from plsc.config.load import require
from plsc.config.registry import BACKBONES, LOSSES, METRICS, OPTIMIZERS, TASKS
from plsc.config.sections import AUTO, Config
from plsc.distributed import world
from plsc.engine.task import TaskType
from plsc.errors import UserError
from plsc.recognition.sections import SECTIONS

if TYPE_CHECKING:
    from paddle import nn

    from plsc.data.loader.batches import TrainingSet
    from plsc.engine.task import Evaluator
    from plsc.export.spec import ExportSpec
    from plsc.recognition.training import RecognitionTraining
    from plsc.weights.weights import NetworkInFile


class Recognition(TaskType):
    """Trains a backbone whose embeddings tell people apart; see `plsc.engine.task.TaskType`."""

    sections = SECTIONS

    def check(self, config: Config) -> None:
        """Check the names and parameters of backbone, losses and metrics.

        Raises:
            UserError: the first that is wrong.

        """
        if config.Model is not None:
            config.Model.backbone.check(BACKBONES)
        for term in config.Loss.Train if config.Loss else ():
            term.loss.check(LOSSES)
        for metric in config.Metric.Eval:
            metric.check(METRICS)

    def check_training(self, config: Config) -> None:
        """Check that backbone, losses, optimizer and the source of the head fit together.

        Raises:
            UserError: a section or key is missing, or values contradict each other.

        """
        from plsc.recognition.build import build_loss

        model = require(config.Model, "Model", "training")
        for term in require(config.Loss, "Loss", "training").Train:
            build_loss(term)
        rule = require(config.Optimizer, "Optimizer", "training").rule.build(OPTIMIZERS)
        if model.pfc_config.dtype == "float16" and "moment2" in rule.state_names:
            raise UserError(
                "Model.pfc_config.dtype is float16, which cannot hold AdamW's squares of "
                "gradients: they are about 1e-12, its smallest number is 6e-8; use bfloat16 or "
                "float32"
            )
        settings = config.Global
        if settings.head_init == "normal" or settings.checkpoint not in (None, AUTO):
            return
        if settings.pretrained_model is None:
            raise UserError(
                "Global.head_init needs weights to start from: set Global.pretrained_model"
            )
        if not settings.finetune:
            raise UserError(
                f"Global.head_init {settings.head_init} replaces the head of "
                "Global.pretrained_model: set Global.finetune=True if that is meant"
            )

    def dataset(self, config: Config) -> "TrainingSet":
        """Return the training set; its list is read and its labels are checked.

        Raises:
            UserError: the set is damaged, or its classes do not fit Model.class_num.

        """
        from plsc.recognition.build import training_set

        model = require(config.Model, "Model", "training")
        num_classes = require(model.class_num, "Model.class_num", "training")
        size = world.current().size
        if num_classes < size:
            raise UserError(f"Model.class_num is {num_classes}: too few to split over {size} ranks")
        return training_set(config, num_classes)

    def network(self, config: Config) -> "nn.Layer":
        """Return the backbone of the config, its weights random."""
        from plsc.recognition.build import build_network

        return build_network(config.Model.backbone)

    def training(
        self,
        config: Config,
        network: "nn.Layer",
        dataset: "TrainingSet",
        state_names: Sequence[str],
    ) -> "RecognitionTraining":
        """Return the head and what it needs; called by all ranks together."""
        from plsc.recognition.build import build_head
        from plsc.recognition.training import RecognitionTraining

        head = build_head(config, network.num_features, tuple(state_names))
        return RecognitionTraining(head, config, dataset)

    def evaluators(self, config: Config) -> "Sequence[Evaluator]":
        """Return an evaluator for each set of DataLoader.Eval and each metric of Metric.Eval."""
        from plsc.recognition.build import build_evaluators

        return build_evaluators(config)

    def describe(self, config: Config, network: "nn.Layer") -> dict[str, str]:
        """Return colour order, mean, std, sizes, alignment and version, as texts."""
        from plsc.data.transforms.input_pixels import trained_on
        from plsc.recognition.description import describe_model

        return describe_model(network.num_features, trained_on(config))

    def network_in(self, path: str) -> "NetworkInFile":
        """Return the IResNet whose state dict torch.save wrote to `path`."""
        from plsc.recognition.torch_iresnet import torch_iresnet

        return torch_iresnet(path)

    def for_export(self, config: Config) -> Config:
        """Return the config with NCHW maps: converters know no other; the weights are the same."""
        model = config.Model
        if model is None or "data_format" not in model.params:
            return config
        return replace(config, Model=replace(model, params={**model.params, "data_format": "NCHW"}))

    def export_spec(
        self, config: Config, network: "nn.Layer", state: Mapping[str, Any], source: str
    ) -> "ExportSpec":
        """Return how a backbone is exported: `data` [N,3,112,112] -> `embedding` [N,d]."""
        from plsc.recognition.export_spec import export_spec

        return export_spec(config, network, state, source)

    def memory(
        self, config: Config, network: "nn.Layer | None", *, ranks: int, local_ranks: int
    ) -> list[str]:
        """Return the estimate of a rank's memory, and a warning where there is too little."""
        from plsc.recognition.plan import forecast

        if network is None:
            return forecast.before_building(config, ranks=ranks, local_ranks=local_ranks)
        return forecast.lines(config, network, ranks=ranks, local_ranks=local_ranks)

    def write_report(
        self,
        config: Config,
        source: str,
        precision: str,
        network: "nn.Layer",
        measured: Sequence[tuple[Any, Any]],
        outputs: Any,
    ) -> None:
        """Print the tables of verification sets and write what `outputs` asks for."""
        from plsc.recognition.description import model_card
        from plsc.recognition.report.evaluation import MeasuredSet

        card = model_card(config, source, dim=network.num_features, precision=precision)
        found = [MeasuredSet(report, evaluator.dataset.source) for evaluator, report in measured]
        outputs.write(card, found)


@TASKS.register
def recognition() -> Recognition:
    """Return face recognition."""
    return Recognition()
