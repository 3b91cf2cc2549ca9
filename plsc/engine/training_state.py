"""What a training is at a moment, to a checkpoint and back."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle import nn

from plsc.checkpoint import folder as checkpoint
from plsc.checkpoint.folder import Checkpoint
from plsc.checkpoint.sharded_files import Unchanged
from plsc.checkpoint.sharded_rows import fill, rows_of
from plsc.distributed import world
from plsc.distributed.data_parallel import average_buffers
from plsc.engine.log import RunLog
from plsc.errors import UserError
from plsc.nn import environment as runtime
from plsc.recognition.heads.centres import ClassCentres
from plsc.weights.pretrained import set_backbone

if TYPE_CHECKING:
    from plsc.engine.trainer import Training


def save_training(
    training: "Training",
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
        earlier: the checkpoint that this process has last written or resumed; files of the head in
            which nothing has changed since are linked from there. None: nothing is.
        meta: further entries of state.json.
        log: hears how far it is, if it takes long.

    Raises:
        UserError: see `checkpoint.save`.

    """
    backbone, centres = training.backbone.backbone, training.head.centres
    average_buffers(backbone)
    state = {
        **meta,
        **training.progress.state(),
        "scaler": training.precision.scaler.state(),
        "losses": [margin.state() for _, margin in training.head.losses],
        "num_classes": centres.shard.num_classes,
    }
    replicated = world.current().is_main  # the others' copies would go nowhere
    path = checkpoint.save(
        folder,
        name,
        backbone=state_arrays(backbone) if replicated else {},
        backbone_optimizer=training.updater.dense.state_arrays() if replicated else {},
        head=rows_of(centres),
        state=state,
        unchanged=Unchanged(earlier, centres.changed, centres.zone) if earlier else None,
        report=log.line,
    )
    centres.mark_saved()
    return path


def state_arrays(backbone: nn.Layer) -> dict[str, np.ndarray]:
    """The state dict as arrays."""
    return {name: tensor.numpy() for name, tensor in backbone.state_dict().items()}


def resume_training(training: "Training", path: str, log: RunLog) -> dict[str, Any]:
    """Go on exactly where the checkpoint at `path` stands, with this world's ranks.

    Returns:
        the checkpoint's state.

    Raises:
        UserError: it is not a checkpoint of plsc, or not of this model and number of classes.

    """
    saved = Checkpoint(Path(path))
    state, centres = saved.state, training.head.centres
    shard = centres.shard
    if saved.head.num_classes != shard.num_classes:
        raise UserError(
            f"{path} has {saved.head.num_classes} classes, Model.class_num is {shard.num_classes}: "
            "to fine-tune with other classes set Global.pretrained_model and Global.finetune=True"
        )
    set_backbone(training.backbone.backbone, saved.backbone(), source=path)
    missing = training.updater.dense.load_state_arrays(saved.backbone_optimizer())
    kinds = {name: kind for name in centres.names if (kind := saved.head.kind(name))}
    missing += [f"{name} of the head" for name in centres.names if name not in kinds]
    if missing:
        raise UserError(
            f"{path} has no optimizer state {missing[0]} ({len(missing)} are missing): was it "
            "saved with another Optimizer or freeze_backbone? Then start from its weights with "
            "Global.pretrained_model"
        )
    _resume_head(saved, centres, kinds, log)
    progress = training.progress
    before = state["global_batch"]
    progress.restore(state)
    training.precision.scaler.restore(state["scaler"])
    _restore_losses(training, state.get("losses") or [], path, log)
    _report(training, state, path, before, log)
    return state


def _resume_head(
    saved: Checkpoint, centres: ClassCentres, kinds: Mapping[str, tuple[str, int]], log: RunLog
) -> None:
    shard, tensors = centres.shard, {}
    for name, (dtype, dim) in kinds.items():
        if dim != centres.dim:
            raise UserError(
                f"{saved.path}: {name} of the head has {dim} dimensions, this Model {centres.dim}"
            )
        if dtype != centres.dtype:
            log.line(f"{name} of the head: {dtype} in {saved.path}, {centres.dtype} (nearest) here")
        tensors[name] = saved.head.pieces(name, shard.start, shard.stop, dtype=centres.dtype)
    began = time.monotonic()
    fill(centres, tensors, purpose=f"{saved.path} cannot be resumed")
    spent = time.monotonic() - began
    if spent >= checkpoint.FIRST_REPORT:
        log.line(f"read {shard.num_local} classes of the head in {spent:.0f} s")
    centres.mark_saved()  # there is nothing yet that the checkpoint does not have


def _restore_losses(
    training: "Training", states: list[dict[str, float]], path: str, log: RunLog
) -> None:
    margins = [margin for _, margin in training.head.losses]
    if [sorted(state) for state in states] == [sorted(margin.state()) for margin in margins]:
        for margin, state in zip(margins, states, strict=True):
            margin.restore(state)
    elif any(margin.state() for margin in margins):
        log.line(f"WARNING: {path} was saved with another Loss.Train: its averages begin anew")


def _report(training: "Training", state: dict, path: str, before: int, log: RunLog) -> None:
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
