"""Write a training's state to a checkpoint, and take it back."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from plsc.checkpoint import folder as checkpoint
from plsc.checkpoint.folder import Checkpoint
from plsc.checkpoint.sharded_files import WEIGHT, SavedRows, Unchanged
from plsc.checkpoint.sharded_rows import StoredRows, fill, rows_of
from plsc.checkpoint.write_meter import FIRST_REPORT
from plsc.distributed import world
from plsc.distributed.data_parallel import (
    average_buffers,
    running_statistics,
    set_running_statistics,
)
from plsc.distributed.joint_work import on_all_ranks
from plsc.engine.log import RunLog
from plsc.engine.training import Training
from plsc.errors import UserError
from plsc.nn import environment
from plsc.nn.device import on_cpu
from plsc.weights.pretrained import set_backbone

STATISTICS = "statistics"  # files of each rank's BatchNorm running statistics, a row of each
STATISTICS_COUNT = "statistics_ranks"
RECOGNITION = "recognition"  # the task of checkpoints that name none: there was no other


def save_training(
    training: Training,
    folder: Path,
    name: str,
    *,
    earlier: Path | None,
    meta: Mapping[str, Any],
    log: RunLog,
) -> Path:
    """Write `<folder>/<name>`; called by all ranks.

    Args:
        training: what is to be saved.
        folder: of this model's checkpoints.
        name: of the new one.
        earlier: the checkpoint that this process has last written or resumed; files of rows in
            which nothing has changed since are linked from there. None: nothing is.
        meta: further entries of state.json.
        log: hears how far it is, if it takes long.

    Raises:
        UserError: see `checkpoint.save`.

    """
    layer, stored = training.network.layer, [rows.stored for rows in training.task.sharded]
    own = running_statistics(layer)
    sharded = {rows.stem: rows_of(rows) for rows in stored}
    counts = {rows.count_key: rows.shard.num_rows for rows in stored}
    if own is not None:
        average_buffers(layer)
        sharded[STATISTICS] = {WEIGHT: own.unsqueeze(0).numpy()}
        counts[STATISTICS_COUNT] = world.current().size
    state = {
        **meta,
        **training.progress.state(),
        "scaler": training.precision.scaler.state(),
        **training.task.state(),
        **counts,
    }
    replicated = world.current().is_main  # the others' copies would go nowhere
    unchanged = {
        rows.stem: Unchanged(earlier, rows.changed, rows.zone) for rows in stored if earlier
    }
    network = state_arrays(layer) if replicated else {}
    if own is not None:  # a run that saves goes on as one that does not
        set_running_statistics(layer, own)
    path = checkpoint.save(
        folder,
        name,
        network=network,
        optimizer=training.updater.dense.state_arrays() if replicated else {},
        sharded=sharded,
        state=state,
        unchanged=unchanged,
        report=log.line,
    )
    for rows in stored:
        rows.mark_saved()
    return path


def _resume_statistics(saved: Checkpoint, layer: nn.Layer) -> None:
    """Give each rank its own running statistics back, if as many ranks as now have saved theirs."""
    place = world.current()
    if running_statistics(layer) is None or saved.state.get(STATISTICS_COUNT) != place.size:
        return
    rows = saved.rows(STATISTICS, STATISTICS_COUNT)
    ((_, own),) = rows.pieces(WEIGHT, place.rank, place.rank + 1, dtype="float32")
    set_running_statistics(layer, paddle.to_tensor(own[0]))


def state_arrays(network: nn.Layer) -> dict[str, np.ndarray]:
    """Return the state dict as arrays."""
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def resume_training(
    training: Training, path: str, log: RunLog, *, task_type: str
) -> dict[str, Any]:
    """Go on exactly where the checkpoint at `path` stands, with this world's ranks.

    Returns:
        the checkpoint's state.

    Raises:
        DamagedFile: it is not a checkpoint of plsc, or not as it was written; training may have
            taken some of it, and is as it should be after another call only.
        UserError: it is not of this task and model.

    """
    saved = on_all_ranks(lambda: Checkpoint(Path(path)))
    state, task = saved.state, training.task
    if (of := state.get("task", RECOGNITION)) != task_type:
        raise UserError(f"{path} is of the task {of}, Global.task_type is {task_type}")
    stored = [rows.stored for rows in task.sharded]
    files = on_all_ranks(lambda: [saved.rows(rows.stem, rows.count_key) for rows in stored])
    task.check_state(state, path)
    network, optimizer = on_all_ranks(lambda: (saved.network(), saved.optimizer()))
    set_backbone(training.network.layer, network, source=path)
    missing = training.updater.dense.load_state_arrays(optimizer)
    kinds = on_all_ranks(
        lambda: [
            {name: file.kind(name) for name in rows.names}
            for rows, file in zip(stored, files, strict=True)
        ]
    )
    for rows, found in zip(stored, kinds, strict=True):
        missing += [f"{name} of the {rows.stem}" for name in rows.names if not found[name]]
    if missing:
        raise UserError(
            f"{path} has no optimizer state {missing[0]} ({len(missing)} are missing): was it "
            "saved with another Optimizer or freeze_backbone? Then start from its weights with "
            "Global.pretrained_model"
        )
    on_all_ranks(lambda: _resume_statistics(saved, training.network.layer))
    for rows, file, found in zip(stored, files, kinds, strict=True):
        _resume_rows(file, rows, found, path, log)
    progress = training.progress
    before = state["global_batch"]
    progress.restore(state)
    training.precision.scaler.restore(state["scaler"])
    task.restore(state, path, log)
    _report(training, state, path, before, log)
    return state


def _resume_rows(
    file: SavedRows,
    stored: StoredRows,
    kinds: Mapping[str, tuple[str, int]],
    path: str,
    log: RunLog,
) -> None:
    shard, tensors = stored.shard, {}
    for name, (dtype, dim) in kinds.items():
        if dim != stored.dim:
            raise UserError(
                f"{path}: {name} of the {stored.stem} has {dim} dimensions, this Model {stored.dim}"
            )
        if dtype != stored.dtype:
            log.line(
                f"{name} of the {stored.stem}: {dtype} in {path}, {stored.dtype} (nearest) here"
            )
        tensors[name] = file.pieces(name, shard.start, shard.stop, dtype=stored.dtype)
    began = time.monotonic()
    fill(stored, tensors, purpose=f"{path} cannot be resumed")
    spent = time.monotonic() - began
    if spent >= FIRST_REPORT:
        log.line(f"read {shard.num_local} rows of the {stored.stem} in {spent:.0f} s")
    stored.mark_saved()  # there is nothing yet that the checkpoint does not have


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
    now = environment.in_effect()
    if state.get("runtime") != now and on_cpu():
        log.line(
            f"WARNING: threads or CPU path differ from the checkpoint's ({state.get('runtime')} "
            f"then, {now} now): losses may differ in the last bits"
        )
