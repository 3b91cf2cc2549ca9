"""Begin a run: from nothing, weights to fine-tune, or a checkpoint to resume."""

import time
from pathlib import Path
from typing import Any

from plsc.checkpoint.folder import Checkpoint
from plsc.checkpoint.saver import BEST, Saver
from plsc.config.sections import MEAN, Config
from plsc.distributed import world
from plsc.distributed.collectives import gather_objects
from plsc.engine.batch_norm_statistics import measure_norms
from plsc.engine.dataset_pass import one_epoch
from plsc.engine.log import RunLog
from plsc.engine.training import Training
from plsc.engine.training_state import resume_training
from plsc.errors import UserError
from plsc.weights.preparation import preparation_notes
from plsc.weights.pretrained import find_weights, take_weights
from plsc.weights.weights import Weights

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
    else:
        for key in ("finetune", "freeze_backbone"):
            if getattr(settings, key):
                raise UserError(
                    f"Global.{key} needs weights to start from: set Global.pretrained_model"
                )


def check_weights_given(config: Config, command: str) -> str:
    """Return where `plsc-<command>` is to take weights from.

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


def begin(training: Training, config: Config, dataset: Any, folder: Path, log: RunLog) -> Saver:
    """Begin or go on as the config says; return the saver for the run's checkpoints."""
    settings = config.Global
    newest = settings.max_num_latest_checkpoint
    if settings.checkpoint is not None:
        state = resume_training(training, settings.checkpoint, log, task_type=settings.task_type)
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
    weights = None
    if settings.pretrained_model is not None:
        weights = _pretrained(training, config, dataset, log)
    training.task.start(weights, training.network.layer, folder, log)
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


def _pretrained(training: Training, config: Config, dataset: Any, log: RunLog) -> Weights:
    """Give the network the weights at Global.pretrained_model; return all that lies there.

    BatchNorms that come without statistics of their own get them from images of `dataset`.

    Raises:
        UserError: they do not fit; the message lists what differs.

    """
    path, layer = config.Global.pretrained_model, training.network.layer
    assert path is not None
    weights = take_weights(path, layer)
    for note in (*weights.notes, *preparation_notes(weights, config)):
        log.line(f"{path}: {note}")
    if weights.folded_norms and not training.frozen:
        inputs = (images for images, _ in one_epoch(dataset, config, shuffle=True))
        measure_norms(layer, weights.folded_norms, inputs, log)
    return weights


def _best_set(state: dict[str, Any]) -> str:
    """Return `Metric.best_set` of the run that wrote `state`."""
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
