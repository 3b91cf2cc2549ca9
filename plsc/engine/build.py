"""Config -> the model and what trains it; see build_data for what it is trained on."""

from pathlib import Path

import paddle
from paddle import nn

from plsc.config.load import require
from plsc.config.registry import BACKBONES, DATASETS, LOSSES, METRICS, OPTIMIZERS, SCHEDULES
from plsc.config.sections import Config, GradClipConfig
from plsc.data.loader.batches import TrainLoader
from plsc.data.transforms.standard import build_transforms
from plsc.distributed import world
from plsc.distributed.data_parallel import DataParallel
from plsc.distributed.recompute import apply_recompute
from plsc.distributed.sharding import ClassShard
from plsc.engine.precision import LossScaler, Precision
from plsc.engine.progress import Progress
from plsc.engine.trainer import Training
from plsc.engine.update import Updater
from plsc.errors import UserError
from plsc.optimizer.clip import ClipGradByGlobalNorm
from plsc.optimizer.dense import DenseParameters
from plsc.recognition.heads.partial_fc import PartialFC
from plsc.recognition.heads.storage import build_centres

SCHEDULE_SUPPLIED = ("epochs", "steps_per_epoch")


def check_components(config: Config) -> None:
    """Check every name and every parameter of the config's components; touches no device.

    Raises:
        UserError: the first that is wrong.

    """
    if config.Model is not None:
        config.Model.backbone.check(BACKBONES)
    for term in config.Loss.Train if config.Loss else ():
        term.loss.check(LOSSES)
    if config.LRScheduler is not None:
        config.LRScheduler.check(SCHEDULES, supplied=SCHEDULE_SUPPLIED)
    if config.Optimizer is not None:
        config.Optimizer.rule.check(OPTIMIZERS)
    for metric in config.Metric.Eval:
        metric.check(METRICS)
    train, evaluation = config.DataLoader.Train, config.DataLoader.Eval
    for dataset in (
        *((train.dataset,) if train else ()),
        *(evaluation.dataset if evaluation else ()),
    ):
        params = dataset.check(DATASETS)
        build_transforms(params.get("transform_ops") or [])


def check_training(config: Config) -> None:
    """Check that all that training needs is there and fits together; touches no device.

    Raises:
        UserError: a section or key is missing, or values contradict each other.

    """
    epochs = require(config.Global.epochs, "Global.epochs", "training")
    model = require(config.Model, "Model", "training")
    for term in require(config.Loss, "Loss", "training").Train:
        term.loss.build(LOSSES)
    rule = require(config.Optimizer, "Optimizer", "training").rule.build(OPTIMIZERS)
    if model.pfc_config.dtype == "float16" and "moment2" in rule.state_names:
        raise UserError(
            "Model.pfc_config.dtype is float16, which cannot hold AdamW's squares of gradients: "
            "they are about 1e-12, its smallest number is 6e-8; use bfloat16 or float32"
        )
    schedule = require(config.LRScheduler, "LRScheduler", "training")
    schedule.build(SCHEDULES, epochs=epochs, steps_per_epoch=1)


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
        if paddle.device.cuda.device_count() == 0:
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


def build_backbone(config: Config, command: str) -> nn.Layer:
    """The backbone of the config, initialised from its seed alike on all ranks."""
    model = require(config.Model, "Model", command)
    paddle.seed(config.Global.seed)
    return model.backbone.build(BACKBONES)


def _clip(config: GradClipConfig | None) -> ClipGradByGlobalNorm | None:
    if config is None:
        return None
    return ClipGradByGlobalNorm(
        config.clip_norm,
        clip_norm_max=config.clip_norm_max,
        always_clip=config.always_clip,
        no_clip_list=config.no_clip_list,
    )


def build_head(config: Config, dim: int, state_names: tuple[str, ...]) -> PartialFC:
    """The head over this rank's classes; all ranks together.

    Raises:
        UserError: there is no room for its files.

    """
    model = require(config.Model, "Model", "training")
    place = world.current()
    num_classes = require(model.class_num, "Model.class_num", "training")
    shard = ClassShard(num_classes, place.rank, place.size)
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
        [(term.weight, term.loss.build(LOSSES)) for term in terms],
        sample_ratio=settings.sample_ratio,
        sparse_update=settings.sparse_update,
        seed=config.Global.seed,
        interclass_filtering_threshold=settings.interclass_filtering_threshold,
    )


def build_training(config: Config, loader: TrainLoader) -> Training:
    """Everything `fit` changes, freshly initialised, to train on the batches of `loader`."""
    settings, place = config.Global, world.current()
    epochs = require(settings.epochs, "Global.epochs", "training")
    optimizer = require(config.Optimizer, "Optimizer", "training")
    schedule = require(config.LRScheduler, "LRScheduler", "training")

    backbone = build_backbone(config, "training")
    if settings.freeze_backbone:
        for parameter in backbone.parameters():
            parameter.stop_gradient = True
        backbone.eval()
    recompute = config.DistributedStrategy.recompute
    if recompute is not None:
        apply_recompute(
            backbone, layerlist_interval=recompute.layerlist_interval, names=recompute.names
        )

    rule = optimizer.rule.build(OPTIMIZERS)
    precision = build_precision(config)
    head = build_head(config, backbone.num_features, rule.state_names)
    clip = _clip(optimizer.grad_clip)
    updater = Updater(
        DenseParameters(backbone, state_names=rule.state_names, frozen=backbone.frozen_names),
        head,
        rule=rule,
        clip=clip,
        scaler=precision.scaler,
        head_lr_multiplier=optimizer.head_lr_multiplier,
        no_weight_decay=optimizer.no_weight_decay_name,
    )
    return Training(
        backbone=DataParallel(backbone),
        head=head,
        updater=updater,
        precision=precision,
        schedule=schedule.build(
            SCHEDULES, epochs=epochs, steps_per_epoch=loader.sampler.steps_per_epoch
        ),
        loader=loader,
        progress=Progress(
            epochs=epochs,
            num_images=loader.sampler.num_images,
            steps_per_epoch=loader.sampler.steps_per_epoch,
            global_batch=loader.sampler.batch_size * place.size,
        ),
        normalise=loader.normalise,
        accum_steps=settings.accum_steps,
        freeze_backbone=settings.freeze_backbone,
        seed=settings.seed,
    )
