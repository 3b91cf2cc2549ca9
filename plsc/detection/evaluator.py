"""Measure a detector during training and by plsc-eval: all ranks together, each image once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plsc.data.sets.set_names import distinct
from plsc.data.transforms.standard import decode
from plsc.detection.datasets.validation import WiderFaceValidation
from plsc.detection.detections import NMS_THRESHOLD, SCORE_THRESHOLD
from plsc.detection.figures import gathered_figures
from plsc.detection.search import find_faces
from plsc.detection.widerface.average_precision import curves_of
from plsc.detection.widerface.ground_truth import SETS, read_ground_truth
from plsc.distributed import world
from plsc.distributed.collectives import gather_arrays
from plsc.engine.task import NetworkFunction
from plsc.errors import UserError

FOUND_VALUES = 15  # corners, score, ten landmarks
Found = list[NDArray[np.float32]]
SHOWN = {"ap_50": "AP 0.5", "ap_50_95": "AP 0.5:0.95", "recall": "recall", "nme": "NME"}


class DetectionEvaluator:
    """Searches the images of a set for faces, and says how well; see `engine.task.Evaluator`."""

    def __init__(self, dataset: WiderFaceValidation, *, name: str):
        self.dataset, self.name = dataset, name
        self.num_samples = -(-len(dataset) // world.current().size)

    def report(self, network: NetworkFunction) -> dict[str, float]:
        """Return the figures of the set, the same on every rank."""
        dataset, found = self.dataset, self._found(network)
        if dataset.ground_truth is not None:
            return _official(dataset, found)
        marked = dataset.source.faces
        sized = [(marked.sizes[marked.faces(n), 2:] > 0).all(axis=1) for n in range(len(dataset))]
        boxes = [marked.boxes(n)[own] for n, own in enumerate(sized)]
        points = [marked.points[marked.faces(n)][own] for n, own in enumerate(sized)]
        figures = gathered_figures(boxes, points, found)
        return {"metric": figures["ap_50"], **figures}

    def _found(self, network: NetworkFunction) -> Found:
        """Return what is found in each image [n, 15]; ranks share the images."""
        place, each = world.current(), self.num_samples
        rows = range(place.rank * each, min((place.rank + 1) * each, len(self.dataset)))
        own = [self._search(network, index) for index in rows]
        counts = np.zeros(each, np.int64)
        counts[: len(own)] = list(map(len, own))
        all_counts = gather_arrays(counts)
        # Images have different numbers of faces: they travel padded to the most.
        padded = np.zeros((each, int(all_counts.max(initial=0)), FOUND_VALUES), np.float32)
        for target, values in zip(padded, own, strict=False):
            target[: len(values)] = values
        together = gather_arrays(padded)[: len(self.dataset)]
        return [values[:count] for values, count in zip(together, all_counts, strict=False)]

    def _search(self, network: NetworkFunction, index: int) -> NDArray[np.float32]:
        pixels = decode(self.dataset.source.read(index)[0], to_rgb=False)
        found = find_faces(network, pixels, self.dataset.protocol)
        points = found.landmarks.reshape(len(found.scores), 10)
        return np.concatenate([found.boxes, found.scores[:, None], points], axis=1)

    def scalars(self, report: dict[str, float]) -> dict[str, float]:
        """Return the figures of `report` that a run records."""
        return dict(report)

    def shown(self, scalars: Mapping[str, float]) -> str:
        """Return the part of `scalars` for a line of the log, with the protocol."""
        names = {**{key: f"AP {key.capitalize()}" for key in SETS}, **SHOWN}
        told = [f"{words} {scalars[key]:.4f}" for key, words in names.items() if key in scalars]
        return f"{', '.join(told)}, protocol {self.dataset.protocol}"

    def protocol(self) -> dict[str, Any]:
        """Return what the figures hold for: sizes, mirroring, and thresholds."""
        return {
            "sizes": self.dataset.protocol,
            "flip": False,
            "score_threshold": SCORE_THRESHOLD,
            "nms_threshold": NMS_THRESHOLD,
            "rules": "all marked faces" if self.dataset.ground_truth is None else "WIDER FACE",
        }

    def size(self) -> str:
        """Return the number of images, in words."""
        return f"{len(self.dataset)} images"


def _official(dataset: WiderFaceValidation, found: Found) -> dict[str, float]:
    """Return AP by the official rules, on corners without fractions as both references have it."""
    assert dataset.ground_truth is not None
    by_name = {
        str(Path(name).with_suffix("")): rows
        for name, rows in zip(dataset.source.faces.names, found, strict=True)
    }
    images = read_ground_truth(dataset.ground_truth)
    missing = [item for item in images if f"{item.event}/{item.name}" not in by_name]
    if missing:
        raise UserError(
            f"{dataset.source.faces.path}: {len(missing)} images of {dataset.ground_truth} are not "
            f"in the list, the first is {missing[0].event}/{missing[0].name}"
        )
    predictions = [_as_predicted(by_name[f"{item.event}/{item.name}"]) for item in images]
    curves = curves_of(images, predictions)
    figures = {key: curve.average_precision for key, curve in curves.items()}
    return {"metric": float(np.mean(list(figures.values()))), **figures}


def _as_predicted(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return x, y, width, height and score [n, 5]."""
    corners = np.trunc(rows[:, :4]).astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2], rows[:, 4:5]], axis=1)


def evaluators_of(datasets: Sequence[Any], keys: Sequence[str]) -> list[DetectionEvaluator]:
    """Return an evaluator for each set; `keys` say where each stands in the config.

    Raises:
        UserError: one is a set to train on.

    """
    for dataset, key in zip(datasets, keys, strict=True):
        if not isinstance(dataset, WiderFaceValidation):
            raise UserError(f"{key}.name: detectors are measured on WiderFaceValidation")
    names = distinct([dataset.name for dataset in datasets])
    return [
        DetectionEvaluator(dataset, name=name)
        for dataset, name in zip(datasets, names, strict=True)
    ]
