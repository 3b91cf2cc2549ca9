"""Begin a run: from nothing, weights to fine-tune, or a checkpoint to resume."""

import time
from pathlib import Path
from typing import Any

from plsc.checkpoint import pointers
from plsc.checkpoint.folder import Checkpoint
from plsc.checkpoint.saver import BEST, LATEST, Saver
from plsc.config.sections import AUTO, MEAN, Config
from plsc.distributed import world
from plsc.distributed.collectives import broadcast_text, gather_objects
from plsc.engine.batch_norm_statistics import measure_norms
from plsc.engine.dataset_pass import one_epoch
from plsc.engine.log import RunLog
from plsc.engine.training import Training
from plsc.engine.training_state import resume_training
from plsc.errors import DamagedFile, UserError
from plsc.weights.preparation import preparation_notes
from plsc.weights.pretrained import find_weights, take_weights
from plsc.weights.weights import Weights

SHARED_SECONDS = 20.0  # a network file system may show a new file a few seconds late


def check_sources(config: Config, folder: Path) -> None:
    """Check that what training in `folder` is to start from is there and the keys for it agree.

    Raises:
        UserError: something is missing, or nothing is there to fine-tune.

    """
    settings = config.Global
    if settings.checkpoint == AUTO and pointers.newest_first(folder, LATEST):
        return  # which of them serves is found when they are read
    if settings.checkpoint not in (None, AUTO):
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
    if path == AUTO:
        assert config.Model is not None
        folder = Path(config.Global.output_dir) / config.Model.name
        path = next(map(str, pointers.newest_first(folder, LATEST)), None)
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
    _adopt_copies(folder, log)
    resumed = _resume(training, config, folder, log)
    if resumed is not None:
        path, state = resumed
        if settings.pretrained_model is not None:
            log.line("Global.pretrained_model is not used: the checkpoint is further on")
        if not _has_best(folder, state["run"], log):
            training.progress.best_metric = None  # this run's best lies elsewhere
        elif _best_set(state) != config.Metric.best_set:
            training.progress.best_metric = None  # a figure of other sets
        log.begin_metrics(resumed_at=training.progress.step)
        saver = Saver(folder, newest=newest, run_id=state["run"])
        saver.already_saved(training.progress, Path(path))
        _say_if_finished(training, config, path, log)
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


def _adopt_copies(folder: Path, log: RunLog) -> None:
    """Make links again of what was copied with the folder in place of them."""
    if world.current().is_main:
        for pointer in (LATEST, BEST):
            if done := pointers.adopt(folder, pointer):
                log.line(done)
    broadcast_text("")  # the other ranks look for nothing before


def _resume(
    training: Training, config: Config, folder: Path, log: RunLog
) -> tuple[str, dict[str, Any]] | None:
    """Resume the checkpoint that the config names; return its path and state, None if it has none.

    Raises:
        UserError: it cannot be resumed; with `auto`, none can, although there are some.

    """
    path, task_type = config.Global.checkpoint, config.Global.task_type
    if path is None:
        return None
    if path != AUTO:
        return path, resume_training(training, path, log, task_type=task_type)
    candidates = "\n".join(map(str, pointers.newest_first(folder, LATEST)))
    candidates = broadcast_text(candidates)
    for number, path in enumerate(candidates.splitlines()):
        try:
            state = resume_training(training, path, log, task_type=task_type)
        except DamagedFile as error:
            log.warning(f"{path} cannot be resumed: {error}")
            continue
        if number or not (folder / LATEST).exists():
            log.warning(f"Global.checkpoint auto: {path} is the newest sound checkpoint")
        return path, state
    if candidates:
        raise UserError(
            f"Global.checkpoint auto: {folder} has checkpoints, and none of them is sound: see the "
            "lines above; to begin anew, move them away or name another Global.output_dir"
        )
    log.line(f"Global.checkpoint auto: {folder} has no checkpoint yet: the run begins")
    return None


def _has_best(folder: Path, run: str, log: RunLog) -> bool:
    """Tell whether `best_model` in `folder` is of this run; a damaged one counts as none."""
    best = folder / BEST
    try:
        return best.exists() and Checkpoint(best).state["run"] == run
    except DamagedFile as error:
        log.warning(f"{error}: the next evaluation is the first that counts for {BEST}")
        return False


def _say_if_finished(training: Training, config: Config, path: str, log: RunLog) -> None:
    progress, limit = training.progress, config.Global.max_train_step
    if progress.finished:
        log.line(
            f"nothing left to train: {path} has {progress.epoch} epochs and Global.epochs is "
            f"{progress.epochs}: set it higher to go on"
        )
    elif limit is not None and progress.step >= limit:
        log.line(
            f"nothing left to train: {path} has {progress.step} steps and Global.max_train_step "
            f"is {limit}: set it higher to go on"
        )


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
    metric = state.get("config", {}).get("Metric") or {}
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
