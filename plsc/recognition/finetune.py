"""Begin a head: loaded, random, or made of class means."""

import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from plsc.checkpoint.sharded_files import WEIGHT, Piece
from plsc.checkpoint.sharded_rows import fill
from plsc.config.sections import GlobalConfig
from plsc.data.loader.batch import Batch
from plsc.distributed.collectives import gather
from plsc.engine.log import RunLog
from plsc.errors import UserError
from plsc.files.tensor_file import spans
from plsc.files.tensor_types import as_type
from plsc.nn.evaluation_mode import evaluating
from plsc.recognition.heads import initial
from plsc.recognition.heads.centres import ClassCentres
from plsc.recognition.heads.partial_fc import vector_norms
from plsc.weights.weights import Weights

SUMS_IN_MEMORY = 2**30  # bytes


def load_head(centres: ClassCentres, weights: Weights, settings: GlobalConfig, log: RunLog) -> None:
    """Take over the class centres of `weights`, unless `Global.finetune` asks for a new head.

    Raises:
        UserError: they do not fit; the message says what differs.

    """
    path, shard = settings.pretrained_model, centres.shard
    if settings.finetune:
        log.line(
            f"fine-tuning from {path}: backbone loaded, new head for {shard.num_rows} classes "
            f"({settings.head_init})"
        )
        return
    num_classes, pieces = weights.head(shard.start, shard.stop)
    if num_classes != shard.num_rows or pieces is None:
        raise UserError(
            f"{path} has {num_classes or 'no'} classes, Model.class_num is {shard.num_rows}: "
            "set Global.finetune=True to start a new head"
        )
    stored = _as_stored(pieces, centres, str(path))
    fill(centres, {WEIGHT: stored}, purpose=f"the class centres of {path}")
    log.line(f"loaded {path}: backbone and {shard.num_rows} class centres")


def _as_stored(pieces: Iterator[Piece], centres: ClassCentres, path: str) -> Iterator[Piece]:
    for first, rows in pieces:
        if rows.shape[1] != centres.dim:
            raise UserError(
                f"{path}: its class centres have {rows.shape[1]} dimensions, this Model "
                f"{centres.dim}"
            )
        yield first, as_type(rows.astype(np.float32, copy=False), "float32", centres.dtype)


@paddle.no_grad()
def set_class_means(
    centres: ClassCentres,
    network: nn.Layer,
    batches: Iterable[tuple[paddle.Tensor, Batch]],
    num_images: int,
    *,
    folder: Path,
    log: RunLog,
) -> None:
    """Begin the head with each class's mean normalised embedding instead of noise.

    One pass of the backbone in evaluation mode over the training set, all ranks together. Rows get
    the length that random ones have; a class without images keeps its random row.

    The sums take 4 bytes per class and dimension: in memory up to SUMS_IN_MEMORY of them, else in
    a file in `folder` that ends with them.

    Args:
        centres: the head's.
        network: the backbone.
        batches: of one epoch in the set's own order, each with the backbone's input.
        num_images: of the set; what the last batches have beyond them was seen before.
        folder: for the file.
        log: hears how many classes have images.

    """
    shard = centres.shard
    sums = _zeros((shard.num_local, centres.dim), folder)
    left = num_images
    with evaluating(network):
        for images, batch in batches:
            features = network(images).astype("float32")
            features = features / vector_norms(features)
            every_label = gather(paddle.to_tensor(batch["labels"])).numpy()
            owned = shard.owns(every_label) & (np.arange(len(every_label)) < left)
            left -= len(every_label)
            np.add.at(sums, every_label[owned] - shard.start, gather(features).numpy()[owned])
    seen = 0
    for start, stop in spans(0, shard.num_local, sums.nbytes):
        seen += _set_means(centres, start, sums[start:stop])
    log.line(f"head begins with class means ({seen} of {shard.num_local} on this rank)")


def _set_means(centres: ClassCentres, start: int, sums: np.ndarray) -> int:
    """Set the classes from `start` on whose sums [n, d] are not zero; return how many these are."""
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    means = sums / np.maximum(norms, 1e-12) * initial.STD * np.sqrt(centres.dim)
    rows, seen = centres.read(WEIGHT, start, start + len(sums)), norms[:, 0] > 0
    rows[seen] = as_type(means[seen].astype(np.float32), "float32", centres.dtype)
    centres.write(WEIGHT, rows, start)
    return int(seen.sum())


def _zeros(shape: tuple[int, int], folder: Path) -> np.ndarray:
    """Return zeros [n, d] float32, in memory or in a file that nobody else sees."""
    needed, free = 4 * math.prod(shape), shutil.disk_usage(folder).free
    if needed <= SUMS_IN_MEMORY:
        return np.zeros(shape, np.float32)
    if needed > free:
        raise UserError(
            f"Global.head_init class_means needs {needed / 1e9:.2f} GB in {folder} for a while, "
            f"which has {free / 1e9:.2f} GB free: free some or set another Global.output_dir"
        )
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.float32, "w+", shape=shape)
