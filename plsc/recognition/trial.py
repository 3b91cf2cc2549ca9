"""A short training on random images, by the step that real training uses: for checks and speed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from plsc.config.load import parse_config
from plsc.data.loader.batch import Fields
from plsc.data.transforms.normalisation import as_given
from plsc.distributed.collectives import agree
from plsc.engine.build import build_loader, build_training
from plsc.engine.trainer import train_step


@dataclass(frozen=True)
class Trial:
    """The result of a trial; losses are of single steps."""

    steps: int
    first_loss: float
    last_loss: float
    images_per_second: float
    precision: str


class RandomFaces:
    """A few fixed random images [3,112,112] of as many classes, for a loss that can fall."""

    fields: Fields = {"images": ((3, 112, 112), np.float32), "labels": ((), np.int64)}

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.skipped: dict[int, str] = {}
        self.labels = np.arange(num_classes)
        self.normalise = as_given

    def __len__(self) -> int:
        return self.num_classes

    def get(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Return image `index` and its class, the same whatever `rng` says."""
        noise = np.random.default_rng(index).uniform(-1, 1, (3, 112, 112))
        return {"images": noise.astype(np.float32), "labels": index}


def run_trial(
    backbone: str,
    *,
    batch_size: int,
    seconds: float,
    num_classes: int | None = None,
    warm_steps: int = 2,
    device: str = "cpu",
) -> Trial:
    """Train `backbone` on random images for `seconds` after `warm_steps`; called by all ranks.

    A batch has an image of each class; classes beyond `batch_size`, if any, have none.
    """
    config = parse_config(
        {
            "Global": {"epochs": 10**6, "device": device, "seed": 1},
            "FP16": {"level": "O1"},
            "Model": {
                "name": backbone,
                "num_features": 128,
                "class_num": num_classes or batch_size,
            },
            "Loss": {"Train": [{"MarginLoss": {"m3": 0.2, "s": 16.0, "weight": 1.0}}]},
            "LRScheduler": {"name": "Poly", "learning_rate": 0.02},
            "Optimizer": {"name": "Momentum", "grad_clip": {"clip_norm": 5.0}},
            "DataLoader": {
                "Train": {
                    "dataset": {"name": "FaceRandomDataset", "num_classes": batch_size},
                    "sampler": {"batch_size": batch_size},
                }
            },
        }
    )
    faces = RandomFaces(batch_size)
    loader = build_loader(config, faces)
    training = build_training(config, loader, faces)
    batch = next(loader.batches(0, 0))
    losses: list[float] = []
    began = time.perf_counter()
    # Each rank has a clock of its own, yet all must take the same number of steps.
    while len(losses) <= warm_steps or not agree(time.perf_counter() - began > seconds):
        losses.append(train_step(training, batch, lr=training.schedule(0)).loss)
        training.progress.advance()
        if len(losses) == warm_steps:
            began = time.perf_counter()
    spent = time.perf_counter() - began
    speed = (len(losses) - warm_steps) * training.progress.global_batch / spent
    return Trial(len(losses), losses[0], losses[-1], speed, training.precision.effective)
