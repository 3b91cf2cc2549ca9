"""Where a run starts from: nothing, weights to fine-tune, or a checkpoint to resume."""

import time
from pathlib import Path
from typing import Any

import paddle

from plsc import runtime
from plsc.distributed import world
from plsc.distributed.collectives import gather_objects
from plsc.engine.checkpoint import Checkpoint
from plsc.engine.finetune import load_pretrained, set_class_means
from plsc.engine.head_rows import fill
from plsc.engine.log import RunLog
from plsc.engine.pretrained import find_weights, set_backbone
from plsc.engine.saver import BEST, Saver
from plsc.engine.trainer import Training
from plsc.errors import UserError
from plsc.heads.centres import ClassCentres
from plsc.sections import MEAN, Config

SHARED_SECONDS = 20.0  # a network file system may show a new file a few seconds late


def check_sources(config: Config) -> None:
    """Check that what training is to start from is there and that the keys for it agree.

    Raises:
        UserError: something is missing, or nothing is there to fine-tune.

    """
    settings = config.Global
    if settings.checkpoint is not None:
        check_checkpoint(settings.checkpoint)
    elif settings.pretrained_model is not None:
        find_weights(settings.pretrained_model)
        if settings.head_init != "normal" and not settings.finetune:
            raise UserError(
                f"Global.head_init {settings.head_init} replaces the head of "
                "Global.pretrained_model: set Global.finetune=True if that is meant"
            )
    else:
        asked = {
            "finetune": settings.finetune,
            "freeze_backbone": settings.freeze_backbone,
            "head_init": settings.head_init != "normal",
        }
        for key in [key for key, value in asked.items() if value]:
            raise UserError(
                f"Global.{key} needs weights to start from: set Global.pretrained_model"
            )


def check_weights_given(config: Config, command: str) -> str:
    """Where `plsc-<command>` is to take weights from.

    Raises:
        UserError: the config does not say, or they are not there.

    """
    path = config.Global.pretrained_model or config.Global.checkpoint
    if path is None:
        raise UserError(
            f"plsc-{command} needs weights: -o Global.pretrained_model=<checkpoint folder, prefix "
            "of PLSC's .pdparams, .pth or .onnx file>"
        )
    find_weights(path)
    return path


def _note_unused_classes(have: int | None, centres: int, log: RunLog) -> None:
    if have is not None and have < centres:
        log.line(
            f"the training set has {have} classes, Model.class_num is {centres}: {centres - have} "
            "class centres belong to nobody"
        )


def start(training: Training, config: Config, dataset: Any, folder: Path, log: RunLog) -> Saver:
    """Begin or go on as the config says; the saver for the run's checkpoints."""
    settings = config.Global
    newest = settings.max_num_latest_checkpoint
    _note_unused_classes(dataset.num_classes, training.head.centres.shard.num_classes, log)
    if settings.checkpoint is not None:
        state = resume(training, settings.checkpoint, log)
        if settings.pretrained_model is not None:
            log.line("Global.pretrained_model is not used: the checkpoint is further on")
        best = folder / BEST
        if not best.exists() or Checkpoint(best).state["run"] != state["run"]:
            training.progress.best_metric = None  # this run's best lies elsewhere
        elif _best_set(state) != config.Metric.best_set:
            training.progress.best_metric = None  # a figure of other sets
        log.begin_metrics(resumed_at=training.progress.step)
        saver = Saver(folder, newest=newest, run_id=state["run"])
        saver.already_saved(training.progress, Path(settings.checkpoint))
        return saver
    if settings.pretrained_model is not None:
        load_pretrained(training, config, dataset, log)
    if settings.head_init == "class_means":
        set_class_means(training, dataset, config, folder, log)
    log.begin_metrics(resumed_at=None)
    saver = Saver(folder, newest=newest)
    earlier = saver.earlier_runs()
    if earlier:
        log.line(
            f"{folder} holds {len(earlier)} checkpoint(s) of earlier runs ({earlier[0]}, …): they "
            "stay; latest and best_model will mean this run's. To go on with one instead, set "
            "Global.checkpoint"
        )
    return saver


def _best_set(state: dict[str, Any]) -> str:
    """`Metric.best_set` of the run that wrote `state`."""
    metric = state.get("config", {}).get("Metric", {})
    return str(metric.get("best_set", MEAN))


def check_checkpoint(path: str) -> None:
    """Check that `path` is a checkpoint that can be resumed."""
    if Path(path + ".pdparams").is_file():
        raise UserError(
            f"Global.checkpoint {path!r} is PLSC's (.pdparams), whose optimizer state plsc cannot "
            "read: start from its weights with Global.pretrained_model instead"
        )
    Checkpoint(Path(path))


def check_shared(folder: Path) -> None:
    """Prove that all ranks see one `folder`, before hours of training depend on it.

    Raises:
        UserError: a rank does not see what rank 0 wrote there.

    """
    place = world.current()
    if place.size == 1:
        return
    token = folder / f".shared-{world.launch_id()}"
    if place.is_main:
        token.write_text(place.host, encoding="utf-8")
    deadline = time.monotonic() + SHARED_SECONDS
    while not token.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    seen = gather_objects((place.rank, place.host, token.exists()))
    if place.is_main:
        token.unlink()
    blind = [f"rank {rank} on {host}" for rank, host, found in seen if not found]
    if blind:
        raise UserError(
            f"Global.output_dir: {', '.join(blind)} cannot see what rank 0 writes to {folder}; "
            "every rank writes its part of a checkpoint: put it on a shared file system"
        )


def resume(training: Training, path: str, log: RunLog) -> dict[str, Any]:
    """Go on exactly where the checkpoint at `path` stands, with this world's ranks.

    Returns:
        the checkpoint's state.

    Raises:
        UserError: it is not a checkpoint of plsc, or not of this model and number of classes.

    """
    saved = Checkpoint(Path(path))
    state, centres = saved.state, training.head.centres
    shard = centres.shard
    if int(state["num_classes"]) != shard.num_classes:
        raise UserError(
            f"{path} has {state['num_classes']} classes, Model.class_num is {shard.num_classes}: "
            "to fine-tune with other classes set Global.pretrained_model and Global.finetune=True"
        )
    set_backbone(training.backbone.backbone, saved.backbone(), source=path)
    missing = training.updater.dense.load_state_arrays(saved.backbone_optimizer())
    kinds = {name: saved.head.kind(name) for name in centres.names}
    missing += [f"{name} of the head" for name, kind in kinds.items() if kind is None]
    if missing:
        raise UserError(
            f"{path} has no optimizer state {missing[0]} ({len(missing)} are missing): was it "
            "saved with another Optimizer or freeze_backbone? Then start from its weights with "
            "Global.pretrained_model"
        )
    _resume_head(saved, centres, log)
    progress = training.progress
    before = state["global_batch"]
    progress.restore(state)
    training.precision.scaler.restore(state["scaler"])
    _report(training, state, path, before, log)
    return state


def _resume_head(saved: Checkpoint, centres: ClassCentres, log: RunLog) -> None:
    shard, tensors = centres.shard, {}
    for name in centres.names:
        kind = saved.head.kind(name)
        assert kind is not None, name
        dtype, dim = kind
        if dim != centres.dim:
            raise UserError(
                f"{saved.path}: {name} of the head has {dim} dimensions, this Model {centres.dim}"
            )
        if dtype != centres.dtype:
            log.line(f"{name} of the head: stored as {dtype}, rounded to {centres.dtype}")
        tensors[name] = saved.head.pieces(name, shard.start, shard.stop, dtype=centres.dtype)
    fill(centres, tensors, purpose=f"{saved.path} cannot be resumed")
    centres.mark_saved()  # there is nothing yet that the checkpoint does not have


def _report(training: Training, state: dict, path: str, before: int, log: RunLog) -> None:
    progress = training.progress
    log.line(
        f"resumed {path}: step {progress.step}, epoch {progress.epoch + 1}, "
        f"{progress.consumed} of {progress.num_images} images of it used"
    )
    if state["num_images"] != progress.num_images:
        log.line(
            f"WARNING: the training set had {state['num_images']} images when this was saved and "
            f"has {progress.num_images} now: the order of the images is another one"
        )
    if before != progress.global_batch:
        log.line(
            f"the global batch is {progress.global_batch} now, it was {before}; the schedule goes "
            "on at the same fraction of training"
        )
    runtime_now = runtime.in_effect()
    if state.get("runtime") != runtime_now and paddle.device.get_device() == "cpu":
        log.line(
            f"WARNING: threads or CPU path differ from the checkpoint's ({state.get('runtime')} "
            f"then, {runtime_now} now): losses may differ in the last bits"
        )
