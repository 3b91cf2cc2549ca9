"""Config -> the parts of face recognition: backbone, losses, head, training set, evaluators.

What a plug-in builds is held to what a run needs of it.
"""

from pathlib import Path
from typing import Any

from paddle import nn

from plsc.config.component import Component
from plsc.config.load import require
from plsc.config.registry import BACKBONES, DATASETS, LOSSES, METRICS
from plsc.config.sections import Config
from plsc.data.sets.set_names import distinct
from plsc.distributed import world
from plsc.distributed.sharding import RowShard
from plsc.errors import UserError
from plsc.recognition.datasets.images import FacePairs
from plsc.recognition.evaluator import VerificationEvaluator, evaluators_of
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.heads.storage import build_centres
from plsc.recognition.losses.margin import Margin
from plsc.recognition.sections import LossTerm


def build_network(component: Component) -> nn.Layer:
    """Return the backbone, a layer with `num_features`.

    Raises:
        UnknownPart: there is none of that name.
        UserError: a parameter is wrong, or a plug-in's backbone is no such layer.

    """
    backbone = component.build(BACKBONES)
    where, kind = f"{component.key}.name", type(backbone).__name__
    if not isinstance(backbone, nn.Layer):
        raise UserError(
            f"{where}: a backbone must be a paddle.nn.Layer, got a {kind}"
            f"{component.origin(BACKBONES)}"
        )
    if not isinstance(getattr(backbone, "num_features", None), int):
        raise UserError(
            f"{where}: {kind} does not tell its embedding's size: set self.num_features in its "
            f"__init__{component.origin(BACKBONES)}"
        )
    return backbone


def build_loss(term: LossTerm) -> Margin:
    """Return the margin of an entry of `Loss.Train`.

    Raises:
        UnknownPart: there is none of that name.
        UserError: a parameter is wrong, or a plug-in's loss is no margin.

    """
    loss = term.loss.build(LOSSES)
    if not isinstance(loss, Margin):
        raise UserError(
            f"{term.loss.key}: a loss must be a plsc.recognition.losses.margin.Margin, got a "
            f"{type(loss).__name__}{term.loss.origin(LOSSES)}"
        )
    return loss


def build_head(config: Config, dim: int, state_names: tuple[str, ...]) -> PartialFC:
    """Return the head over this rank's classes; called by all ranks together.

    Raises:
        UserError: there is no room for its files.

    """
    model = require(config.Model, "Model", "training")
    optimizer = require(config.Optimizer, "Optimizer", "training")
    place = world.current()
    num_classes = require(model.class_num, "Model.class_num", "training")
    shard = RowShard(num_classes, place.rank, place.size)
    settings = model.pfc_config
    centres = build_centres(
        shard,
        dim,
        state_names=state_names,
        storage=settings.storage,
        dtype=settings.dtype,
        folder=Path(settings.storage_dir or Path(config.Global.output_dir) / model.name),
        seed=config.Global.seed,
    )
    terms = require(config.Loss, "Loss", "training").Train
    return PartialFC(
        centres,
        [(term.weight, build_loss(term)) for term in terms],
        sample_ratio=settings.sample_ratio,
        sparse_update=settings.sparse_update,
        seed=config.Global.seed,
        interclass_filtering_threshold=settings.interclass_filtering_threshold,
        lr_multiplier=optimizer.head_lr_multiplier,
    )


def training_set(config: Config, num_classes: int) -> Any:
    """Return the set of DataLoader.Train, whose labels are below `num_classes`."""
    data = require(config.DataLoader.Train, "DataLoader.Train", "training")
    dataset = data.dataset.build(DATASETS)
    if isinstance(dataset, FacePairs):
        raise _wrong_use(data.dataset, "pairs to verify, which belong into DataLoader.Eval")
    dataset.require_classes(num_classes)
    return dataset


def build_evaluators(config: Config) -> list[VerificationEvaluator]:
    """Return an evaluator for each set of DataLoader.Eval and each metric of Metric.Eval."""
    data = require(config.DataLoader.Eval, "DataLoader.Eval", "evaluation")
    if not config.Metric.Eval:
        raise UserError("Metric.Eval is missing from the config: evaluation needs it")
    datasets = [dataset.build(DATASETS) for dataset in data.dataset]
    for section, dataset in zip(data.dataset, datasets, strict=True):
        if not isinstance(dataset, FacePairs):
            raise _wrong_use(section, "images to train on, which belong into DataLoader.Train")
    metrics = [metric.build(METRICS) for metric in config.Metric.Eval]
    evaluators: list[VerificationEvaluator] = []
    for dataset, name in zip(datasets, distinct([item.name for item in datasets]), strict=True):
        for metric in metrics:
            metric.check(dataset.issame)
        evaluators += evaluators_of(
            dataset,
            metrics,
            name=name,
            batch_size=data.sampler.batch_size,
            num_workers=data.loader.num_workers,
        )
    return evaluators


def _wrong_use(dataset: Component, what: str) -> UserError:
    return UserError(f"{dataset.key}.name: {dataset.name} holds {what}")
