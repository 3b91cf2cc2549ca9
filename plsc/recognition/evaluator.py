"""Verification during training and by plsc-eval: all ranks together, each pair once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle

from plsc.data.loader.batches import collect_images
from plsc.distributed import world
from plsc.distributed.collectives import gather
from plsc.engine.task import NetworkFunction
from plsc.recognition.metrics.verification import VerificationReport
from plsc.recognition.pixel_input import OUTPUT


class VerificationEvaluator:
    """Measures embeddings on the pairs of one verification set.

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

    @property
    def num_samples(self) -> int:
        """Images that each rank embeds, mirrored ones among them."""
        each = -(-len(self.dataset) // world.current().size)
        return each * (2 if self.metric.flip_test else 1)

    def size(self) -> str:
        """Return the number of pairs, in words."""
        return f"{len(self.dataset) // 2} pairs"

    def scalars(self, report: VerificationReport) -> dict[str, float]:
        """Return the figures of `report` that a run records."""
        return dict(self.metric.scalars(report))

    def shown(self, result: Mapping[str, float]) -> str:
        """Return the part of `result` for a line of the log."""
        return ", ".join(f"{name}: {result[name]:.5f}" for name in self.metric.shown(result))

    def report(self, network: NetworkFunction) -> VerificationReport:
        """Return all that the set says about `network`, the same on every rank.

        Called by all ranks; see `plsc.engine.task.Evaluator`.
        """
        place, num_images = world.current(), len(self.dataset)
        each = -(-num_images // place.size)
        # The last rank repeats its end so that all ranks gather equal shapes; cut off below.
        mine = np.arange(place.rank * each, (place.rank + 1) * each).clip(max=num_images - 1)
        plain, mirrored = [], []
        chunks = np.split(mine, range(self.batch_size, len(mine), self.batch_size))
        for batch in collect_images(self.dataset, chunks, num_workers=self.num_workers):
            images = self.dataset.normalise(batch["images"])
            plain.append(network(images)[OUTPUT])
            if self.metric.flip_test:
                mirrored.append(network(np.ascontiguousarray(images[..., ::-1]))[OUTPUT])
        return self.metric.report(
            _gathered(plain, num_images),
            _gathered(mirrored, num_images) if mirrored else None,
            self.dataset.issame,
            name=self.name,
        )


def _gathered(parts: list[np.ndarray], num_rows: int) -> np.ndarray:
    """Return all ranks' rows in rank order, the repeated ones cut off."""
    rows = gather(paddle.to_tensor(np.concatenate(parts)))
    return rows.numpy()[:num_rows]
