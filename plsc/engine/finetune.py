"""Beginning from weights: the backbone, and a head loaded, random or made of class means."""

from typing import Any

import numpy as np
import paddle

from plsc.distributed.collectives import gather
from plsc.engine.folded import measure_norms
from plsc.engine.log import RunLog
from plsc.engine.one_pass import one_pass
from plsc.engine.pretrained import take_weights
from plsc.engine.trainer import Training
from plsc.errors import UserError
from plsc.heads.centres import INIT_STD
from plsc.heads.partial_fc import vector_norms
from plsc.sections import Config


def load_pretrained(training: Training, config: Config, dataset: Any, log: RunLog) -> None:
    """Take over weights; the head too, unless `Global.finetune` asks for a new one.

    BatchNorms that come without statistics of their own get them from images of `dataset`.

    Raises:
        UserError: they do not fit; the message lists what differs.

    """
    path, settings = config.Global.pretrained_model, config.Global
    assert path is not None
    weights = take_weights(path, training.backbone.backbone)
    for note in weights.notes:
        log.line(f"{path}: {note}")
    if weights.folded and not training.freeze_backbone:
        measure_norms(training, weights.folded, dataset, config, log)
    centres = training.head.centres
    shard = centres.shard
    if settings.finetune:
        log.line(
            f"fine-tuning from {path}: backbone loaded, new head for {shard.num_classes} classes "
            f"({settings.head_init})"
        )
        return
    num_classes, rows = weights.head(shard.start, shard.stop)
    if num_classes != shard.num_classes or rows is None:
        raise UserError(
            f"{path} has {num_classes or 'no'} classes, Model.class_num is {shard.num_classes}: "
            "set Global.finetune=True to start a new head"
        )
    if rows.shape[1] != centres.dim:
        raise UserError(
            f"{path}: its class centres have {rows.shape[1]} dimensions, this Model {centres.dim}"
        )
    centres.write("weight", rows.astype(np.float32))
    log.line(f"loaded {path}: backbone and {shard.num_classes} class centres")


@paddle.no_grad()
def set_class_means(training: Training, dataset: Any, config: Config, log: RunLog) -> None:
    """Begin the head with each class's mean normalised embedding instead of noise.

    One pass of the backbone in evaluation mode over the training set, all ranks together. Rows get
    the length that random ones have; a class without images keeps its random row.
    """
    backbone, centres = training.backbone.backbone, training.head.centres
    shard = centres.shard
    sums = np.zeros((shard.num_local, centres.dim), np.float64)
    backbone.eval()
    left = len(dataset)  # the last batch is filled up with images that have been seen
    for images, labels in one_pass(dataset, config, shuffle=False):
        features = backbone(images).astype("float32")
        features = features / vector_norms(features)
        every_label = gather(paddle.to_tensor(labels)).numpy()
        owned = shard.owns(every_label) & (np.arange(len(every_label)) < left)
        left -= len(every_label)
        np.add.at(sums, every_label[owned] - shard.start, gather(features).numpy()[owned])
    if not training.freeze_backbone:
        backbone.train()
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    rows = centres.read("weight").copy()
    seen = norms[:, 0] > 0
    rows[seen] = (sums / np.maximum(norms, 1e-12) * INIT_STD * np.sqrt(centres.dim))[seen]
    centres.write("weight", rows)
    log.line(f"head begins with class means ({int(seen.sum())} of {shard.num_local} on this rank)")
