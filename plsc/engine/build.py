"""Config -> the network and what trains it; the parts that every task has."""

from collections.abc import Sequence

import paddle
from paddle import nn

from plsc.checkpoint.saved_config import unknown_in_checkpoint
from plsc.config.load import require
from plsc.config.registry import CLIPS, DATASETS, OPTIMIZERS, SCHEDULES, TASKS, UnknownPart
from plsc.config.schema import nearest
from plsc.config.sections import MEAN, Config
from plsc.data.loader.batches import TrainingSet, TrainLoader
from plsc.data.loader.sampler import EpochSampler
from plsc.data.transforms.standard import build_transforms
from plsc.distributed import world
from plsc.distributed.data_parallel import DataParallel
from plsc.distributed.recompute import apply_recompute
from plsc.engine.image_transfer import ImageTransfer
from plsc.engine.precision import LossScaler, Precision
from plsc.engine.progress import Progress
from plsc.engine.task import Evaluator, TaskType
from plsc.engine.training import Training
from plsc.engine.update import Updater
from plsc.errors import UserError
from plsc.nn.device import num_gpus
from plsc.nn.layers import frozen_names
from plsc.optimizer.arrangement import trained_parameters

SCHEDULE_SUPPLIED = ("epochs", "steps_per_epoch")


def task_type(config: Config) -> TaskType:
    """Return the task that the config names."""
    found: TaskType = TASKS.get(config.Global.task_type, "Global.task_type")()
    return found


def check_components(config: Config) -> None:
    """Check every name and every parameter of the config's components; touch no device.

    Raises:
        UserError: the first that is wrong.

    """
    try:
        _check_components(config)
    except UnknownPart as error:
        path = config.Global.checkpoint or config.Global.pretrained_model
        raise unknown_in_checkpoint(error, path, _naming_plugins) from error


def _naming_plugins(modules: list[str]) -> str:
    return f"-o Global.plugins=[{','.join(modules)}]"


def _check_components(config: Config) -> None:
    task_type(config).check(config)
    if config.LRScheduler is not None:
        config.LRScheduler.check(SCHEDULES, supplied=SCHEDULE_SUPPLIED)
    if config.Optimizer is not None:
        config.Optimizer.rule.check(OPTIMIZERS)
        if config.Optimizer.grad_clip is not None:
            config.Optimizer.grad_clip.build(CLIPS)
    for dataset in config.DataLoader.datasets:
        params = dataset.check(DATASETS)
        build_transforms(params.get("transform_ops") or [])


def check_training(config: Config) -> None:
    """Check that all that training needs is there and fits together; touch no device.

    Raises:
        UserError: a section or key is missing, or values contradict each other.

    """
    epochs = require(config.Global.epochs, "Global.epochs", "training")
    task_type(config).check_training(config)
    require(config.Optimizer, "Optimizer", "training").rule.build(OPTIMIZERS)
    schedule = require(config.LRScheduler, "LRScheduler", "training")
    schedule.build(SCHEDULES, epochs=epochs, steps_per_epoch=1)


def check_best_set(config: Config, evaluators: Sequence[Evaluator]) -> None:
    """Check that Metric.best_set is `mean` or names a set that is measured.

    Raises:
        UserError: it does not.

    """
    chosen, names = config.Metric.best_set, {evaluator.name for evaluator in evaluators}
    if evaluators and chosen not in {MEAN, *names}:
        hint = nearest(chosen, {MEAN, *names})
        raise UserError(f"Metric.best_set: no verification set is called {chosen!r}{hint}")


def set_device(name: str) -> None:
    """Make `cpu` or this rank's `gpu` the device.

    Raises:
        UserError: there is no such device.

    """
    if name == "gpu":
        if not paddle.is_compiled_with_cuda():
            raise UserError(
                "Global.device is gpu but this Paddle is built for CPU only: install "
                "paddlepaddle-gpu, or use the CPU with -o Global.device=cpu"
            )
        if num_gpus() == 0:
            raise UserError(
                "Global.device is gpu but no GPU is visible here: check CUDA_VISIBLE_DEVICES, or "
                "use the CPU with -o Global.device=cpu"
            )
    paddle.set_device(f"gpu:{world.current().gpu}" if name == "gpu" else name)


def build_precision(config: Config) -> Precision:
    """Precision as the FP16 section asks for it; float32 without one."""
    fp16 = config.FP16
    if fp16 is None:
        return Precision()
    given = fp16.GradScaler
    scaler = LossScaler(
        scale=given.init_loss_scaling,
        incr_ratio=given.incr_ratio,
        decr_ratio=given.decr_ratio,
        incr_every_n_steps=given.incr_every_n_steps,
        decr_every_n_nan_or_inf=given.decr_every_n_nan_or_inf,
        max_loss_scaling=given.max_loss_scaling,
        dynamic=given.use_dynamic_loss_scaling,
    )
    return Precision(
        level=fp16.level,
        dtype=fp16.dtype,
        device=config.Global.device,
        white_list=fp16.fp16_custom_white_list,
        black_list=fp16.fp16_custom_black_list,
        scaler=scaler,
    )


def build_network(config: Config) -> nn.Layer:
    """Return the network of the config, initialised from its seed alike on all ranks."""
    require(config.Model, "Model", "plsc")
    paddle.seed(config.Global.seed)
    return task_type(config).network(config)


def build_loader(config: Config, dataset: TrainingSet) -> TrainLoader:
    """Return this rank's share of `dataset` in batches; touch no device."""
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


def build_training(config: Config, loader: TrainLoader, dataset: TrainingSet) -> Training:
    """Return everything `fit` changes, freshly initialised, to train on the batches of `loader`."""
    settings = config.Global
    optimizer = require(config.Optimizer, "Optimizer", "training")
    network = _network_to_train(config)
    rule, precision = optimizer.rule.build(OPTIMIZERS), build_precision(config)
    task = task_type(config).training(config, network, dataset, rule.state_names)
    clip = None if optimizer.grad_clip is None else optimizer.grad_clip.build(CLIPS)
    updater = Updater(
        trained_parameters(
            network,
            frozen=frozen_names(network),
            state_names=rule.state_names,
            clip=clip,
            no_weight_decay=optimizer.no_weight_decay_name,
        ),
        task.sharded,
        rule=rule,
        clip=clip,
        scaler=precision.scaler,
        no_weight_decay=optimizer.no_weight_decay_name,
    )
    sampler = loader.sampler
    data = config.DataLoader.Train
    epochs = require(settings.epochs, "Global.epochs", "training")
    schedule = require(config.LRScheduler, "LRScheduler", "training")
    return Training(
        network=DataParallel(network),
        task=task,
        updater=updater,
        precision=precision,
        schedule=schedule.build(SCHEDULES, epochs=epochs, steps_per_epoch=sampler.steps_per_epoch),
        loader=loader,
        progress=Progress(
            epochs=epochs,
            num_images=sampler.num_images,
            steps_per_epoch=sampler.steps_per_epoch,
            global_batch=sampler.batch_size * world.current().size,
        ),
        normalise=loader.normalise,
        images=ImageTransfer(ahead=data.loader.device_prefetch if data else None),
        accum_steps=settings.accum_steps,
        frozen=settings.freeze_backbone,
        seed=settings.seed,
    )


def _network_to_train(config: Config) -> nn.Layer:
    network = build_network(config)
    if config.Global.freeze_backbone:
        for parameter in network.parameters():
            parameter.stop_gradient = True
        network.eval()
    recompute = config.DistributedStrategy.recompute
    if recompute is not None:
        apply_recompute(
            network, layerlist_interval=recompute.layerlist_interval, names=recompute.names
        )
    return network
