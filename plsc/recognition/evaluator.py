"""Verification during training and by plsc-eval: all ranks together, each pair once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle

from plsc.data.loader.generators import ImageGenerators
from plsc.distributed import world
from plsc.distributed.collectives import gather
from plsc.engine.task import NetworkFunction
from plsc.inference.network import Floats
from plsc.recognition.embedding import Face, embed_all
from plsc.recognition.metrics.verification import VerificationReport
from plsc.recognition.pixel_input import OUTPUT


class VerificationEvaluator:
    """Measures embeddings on the pairs of one verification set; see `evaluators_of`.

    Args:
        embeddings: of the set.
        metric: measures (embeddings [2P,d], mirrored embeddings or None, issame [P]): its `report`
            all that there is, whose `scalars` are {name: value}; `shown` names those that a line of
            the log has.
        name: of the set, for log and metrics.jsonl.
        num_samples: images that each rank embeds for this metric, mirrored ones among them.

    """

    def __init__(self, embeddings: "_SetEmbeddings", metric: Any, *, name: str, num_samples: int):
        self.dataset, self.metric, self.name = embeddings.dataset, metric, name
        self.num_samples = num_samples
        self._embeddings = embeddings

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
        rows = self._embeddings.of(network)
        mirrored = rows[:, 1] if self.metric.flip_test else None
        return self.metric.report(rows[:, 0], mirrored, self.dataset.issame, name=self.name)


def evaluators_of(
    dataset: Any, metrics: Sequence[Any], *, name: str, batch_size: int, num_workers: int = 0
) -> list[VerificationEvaluator]:
    """Return an evaluator for each metric; a network that all measure in turn embeds once.

    Args:
        dataset: pairs; image rows 2i and 2i + 1 belong to pair i, `issame` [P] says which match.
        metrics: see `VerificationEvaluator`.
        name: of the set.
        batch_size: images per forward pass and rank.
        num_workers: processes that read images.

    """
    flip = any(metric.flip_test for metric in metrics)
    embeddings = _SetEmbeddings(
        dataset, flip, times=len(metrics), batch_size=batch_size, num_workers=num_workers
    )
    samples = -(-len(dataset) // world.current().size) * (1 + flip)
    return [
        VerificationEvaluator(embeddings, metric, name=name, num_samples=0 if number else samples)
        for number, metric in enumerate(metrics)
    ]


class _SetEmbeddings:
    """The embeddings of a set, kept until as many as share them have had those of a network."""

    def __init__(self, dataset: Any, flip: bool, *, times: int, batch_size: int, num_workers: int):
        self.dataset, self._flip, self._times = dataset, flip, times
        self._batch_size, self._num_workers = batch_size, num_workers
        self._kept: tuple[NetworkFunction, Floats, int] | None = None

    def of(self, network: NetworkFunction) -> Floats:
        """Return embeddings [2P, views, d] by `network`, the same on every rank."""
        if self._kept is None or self._kept[0] is not network:
            self._kept = network, self._embedded(network), self._times
        _, rows, left = self._kept
        self._kept = (network, rows, left - 1) if left > 1 else None
        return rows

    def _embedded(self, network: NetworkFunction) -> Floats:
        place, num_images = world.current(), len(self.dataset)
        each = -(-num_images // place.size)
        # The last rank repeats its end so that all ranks gather equal shapes; cut off below.
        mine = np.arange(place.rank * each, (place.rank + 1) * each).clip(max=num_images - 1)
        rows = embed_all(
            _Samples(self.dataset),
            _PreparedNetwork(network, self.dataset.normalise),
            mine,
            batch_size=self._batch_size,
            flip=self._flip,
            num_workers=self._num_workers,
            unit=None,
        )
        found: Floats = gather(paddle.to_tensor(rows)).numpy()[:num_images]
        return found


class _Samples:
    """The images of a config's data set as faces, each transformed as the config says."""

    most_faces = 1

    def __init__(self, dataset: Any):
        self.shape, self.dtype = dataset.fields["images"]
        self._dataset, self._generators = dataset, ImageGenerators()
        self.where = "image {}".format

    def __len__(self) -> int:
        return len(self._dataset)

    def faces(self, index: int) -> Sequence[Face]:
        pixels = self._dataset.get(index, self._generators(index))["images"]
        return [Face(index, pixels=pixels)]


class _PreparedNetwork:
    """A network of the engine as one that takes what a data set's transforms give."""

    def __init__(self, function: NetworkFunction, normalise: Callable[[Any], Any]):
        self._function, self._normalise = function, normalise

    def embed_views(
        self, images: npt.NDArray, *, flip: bool, where: Callable[[int], str]
    ) -> Floats:
        prepared = self._normalise(images)
        views = [prepared, np.ascontiguousarray(prepared[..., ::-1])] if flip else [prepared]
        return np.stack([self._function(view)[OUTPUT] for view in views], axis=1)
