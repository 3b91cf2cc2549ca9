"""Config -> what is trained on and measured: sets of images, loader, evaluators; no device."""

from typing import Any

from plsc.config.component import Component
from plsc.config.load import require
from plsc.config.registry import DATASETS, METRICS
from plsc.config.schema import nearest
from plsc.config.sections import MEAN, Config
from plsc.data.loader.batches import TrainLoader
from plsc.data.loader.sampler import EpochSampler
from plsc.data.sets.pair_sets import distinct
from plsc.distributed import world
from plsc.errors import UserError
from plsc.recognition.datasets.images import FacePairs
from plsc.recognition.evaluator import VerificationEvaluator


def build_train_dataset(config: Config) -> Any:
    """The training set; reads its list and checks its labels, touches no device."""
    data = require(config.DataLoader.Train, "DataLoader.Train", "training")
    model = require(config.Model, "Model", "training")
    num_classes = require(model.class_num, "Model.class_num", "training")
    size = world.current().size
    if num_classes < size:
        raise UserError(f"Model.class_num is {num_classes}: too few to split over {size} ranks")
    dataset = data.dataset.build(DATASETS)
    if isinstance(dataset, FacePairs):
        raise _wrong_use(data.dataset, "pairs to verify, which belong into DataLoader.Eval")
    dataset.require_classes(num_classes)
    return dataset


def _wrong_use(dataset: Component, what: str) -> UserError:
    return UserError(f"{dataset.key}.name: {dataset.name} holds {what}")


def build_loader(config: Config, dataset: Any) -> TrainLoader:
    """This rank's share of `dataset` in batches; touches no device."""
    data, place = require(config.DataLoader.Train, "DataLoader.Train", "training"), world.current()
    parts = config.Global.accum_steps
    if data.sampler.batch_size % parts:
        raise UserError(
            f"DataLoader.Train.sampler.batch_size {data.sampler.batch_size} cannot be split into "
            f"Global.accum_steps {parts} equal parts"
        )
    sampler = EpochSampler(
        len(dataset),
        batch_size=data.sampler.batch_size,
        rank=place.rank,
        world_size=place.size,
        shuffle=data.sampler.shuffle,
        drop_last=data.sampler.drop_last,
        seed=config.Global.seed,
    )
    workers = data.loader.num_workers
    return TrainLoader(dataset, sampler, num_workers=workers, seed=config.Global.seed)


def build_evaluators(config: Config) -> list[VerificationEvaluator]:
    """Each verification set of DataLoader.Eval under each metric of Metric.Eval; no device."""
    data = require(config.DataLoader.Eval, "DataLoader.Eval", "evaluation")
    if not config.Metric.Eval:
        raise UserError("Metric.Eval is missing from the config: evaluation needs it")
    datasets = [dataset.build(DATASETS) for dataset in data.dataset]
    for section, dataset in zip(data.dataset, datasets, strict=True):
        if not isinstance(dataset, FacePairs):
            raise _wrong_use(section, "images to train on, which belong into DataLoader.Train")
    metrics = [metric.build(METRICS) for metric in config.Metric.Eval]
    evaluators = []
    for dataset, name in zip(datasets, distinct([item.name for item in datasets]), strict=True):
        for metric in metrics:
            metric.check(dataset.issame)
            evaluators.append(
                VerificationEvaluator(
                    dataset,
                    metric,
                    name=name,
                    batch_size=data.sampler.batch_size,
                    num_workers=data.loader.num_workers,
                )
            )
    return evaluators


def check_best_set(config: Config, evaluators: list[VerificationEvaluator]) -> None:
    """Check that Metric.best_set is `mean` or names a set that is measured.

    Raises:
        UserError: it does not.

    """
    chosen, names = config.Metric.best_set, {evaluator.name for evaluator in evaluators}
    if evaluators and chosen not in {MEAN, *names}:
        hint = nearest(chosen, {MEAN, *names})
        raise UserError(f"Metric.best_set: no verification set is called {chosen!r}{hint}")
