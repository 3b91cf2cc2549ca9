"""Verification during training and by plsc-eval: all ranks together, each pair once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
from paddle import nn

from plsc.data.loader.batches import collect_images
from plsc.distributed import world
from plsc.distributed.collectives import gather
from plsc.distributed.data_parallel import average_buffers
from plsc.engine.onnx_runtime import Embed, onnx_embedder
from plsc.engine.precision import Precision
from plsc.recognition.metrics.verification import VerificationReport


def backbone_embedder(backbone: nn.Layer, precision: Precision) -> Embed:
    """images [b,3,h,w] float32 -> embeddings [b,d] float32, in evaluation mode."""

    @paddle.no_grad()
    def embed(images: np.ndarray) -> np.ndarray:
        with precision.autocast():
            features = backbone(paddle.to_tensor(images))
        return features.astype("float32").numpy()

    return embed


class VerificationEvaluator:
    """`run(backbone)` -> metrics on the pairs of one verification set.

    Args:
        dataset: pairs; image rows 2i and 2i + 1 belong to pair i, `issame` [P] says which match.
        metric: measures (embeddings [2P,d], mirrored embeddings or None, issame [P]): its `report`
            all that there is, whose `scalars` are {name: value}; `shown` names those that a line of
            the log has.
        name: of the set, for log and metrics.jsonl.
        batch_size: images per forward pass and rank.
        num_workers: processes that read images.

    """

    def __init__(
        self, dataset: Any, metric: Any, *, name: str, batch_size: int, num_workers: int = 0
    ):
        self.dataset, self.metric, self.name = dataset, metric, name
        self.batch_size, self.num_workers = batch_size, num_workers

    def run(self, backbone: nn.Layer, precision: Precision) -> dict[str, float]:
        """Metrics of `backbone`, the same on every rank; called by all ranks."""
        return self.scalars(self.report(backbone, precision))

    def report(self, backbone: nn.Layer, precision: Precision) -> VerificationReport:
        """All that the set says about `backbone`, the same on every rank; called by all ranks."""
        average_buffers(backbone)
        was_training = backbone.training
        backbone.eval()
        try:
            embed = onnx_embedder(backbone, num_images=self._num_passes())
            return self.report_embedder(embed or backbone_embedder(backbone, precision))
        finally:
            if was_training:
                backbone.train()

    def _num_passes(self) -> int:
        """Images that each rank embeds, mirrored ones among them."""
        each = -(-len(self.dataset) // world.current().size)
        return each * (2 if self.metric.flip_test else 1)

    def scalars(self, report: VerificationReport) -> dict[str, float]:
        """The figures of `report` that a run records."""
        return dict(self.metric.scalars(report))

    def shown(self, result: Mapping[str, float]) -> str:
        """The part of `result` for a line of the log."""
        return ", ".join(f"{name}: {result[name]:.5f}" for name in self.metric.shown(result))

    def run_embedder(self, embed: Embed) -> dict[str, float]:
        """Metrics of anything that embeds images; called by all ranks."""
        return self.scalars(self.report_embedder(embed))

    def report_embedder(self, embed: Embed) -> VerificationReport:
        """All that the set says about anything that embeds images; called by all ranks."""
        place, num_images = world.current(), len(self.dataset)
        each = -(-num_images // place.size)
        # The last rank repeats its end so that all ranks gather equal shapes; cut off below.
        mine = np.arange(place.rank * each, (place.rank + 1) * each).clip(max=num_images - 1)
        plain, mirrored = [], []
        chunks = np.split(mine, range(self.batch_size, len(mine), self.batch_size))
        for batch in collect_images(self.dataset, chunks, num_workers=self.num_workers):
            images = self.dataset.normalise(batch["images"])
            plain.append(embed(images))
            if self.metric.flip_test:
                mirrored.append(embed(np.ascontiguousarray(images[..., ::-1])))
        return self.metric.report(
            _gathered(plain, num_images),
            _gathered(mirrored, num_images) if mirrored else None,
            self.dataset.issame,
            name=self.name,
        )


def _gathered(parts: list[np.ndarray], num_rows: int) -> np.ndarray:
    """All ranks' rows in rank order, the repeated ones cut off."""
    rows = gather(paddle.to_tensor(np.concatenate(parts)))
    return rows.numpy()[:num_rows]
