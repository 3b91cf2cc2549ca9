"""One rank of scaling.py: training steps on random images, timed, and what they exchange."""

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from training_config import training_config
from worlds import report_cases

from plsc.distributed import world

WARM_STEPS = 2


class RandomImages:
    """The same batch again and again, of classes all over the range; stands where a loader does."""

    def __init__(self, settings: SimpleNamespace):
        random = np.random.default_rng([settings.seed, world.current().rank])
        shape = (settings.batch, 3, 112, 112)
        self.images = random.uniform(-1, 1, shape).astype(np.float32)
        self.labels = random.integers(0, settings.classes, settings.batch)
        steps = WARM_STEPS + settings.steps
        num_images = steps * settings.batch * world.current().size
        self.sampler = SimpleNamespace(
            steps_per_epoch=steps, num_images=num_images, batch_size=settings.batch
        )

    def normalise(self, images: Any) -> Any:
        """Nothing to do."""
        return images


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each step, CPU seconds of all ranks, and the bytes of one step."""
    from plsc.data.loader.batch import Batch
    from plsc.distributed.collectives import count_traffic, gather_objects
    from plsc.engine.build import build_training
    from plsc.engine.trainer import train_step

    settings = SimpleNamespace(**case)
    loader = RandomImages(settings)
    config = training_config(
        settings.backbone,
        classes=settings.classes,
        ratio=settings.ratio,
        dim=settings.dim,
        Global={"seed": settings.seed, "accum_steps": settings.parts},
    )
    training = build_training(config, loader, loader)
    batch = Batch({"images": loader.images, "labels": loader.labels})
    weights = training.updater.dense.weights.values()
    wall, cpu = [], []
    for _ in range(WARM_STEPS + settings.steps):
        began, used = time.perf_counter(), time.process_time()
        with count_traffic() as counted:
            train_step(training, batch, lr=0.01)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
        training.progress.advance()
    return {
        "seconds": wall[WARM_STEPS:],
        "cpu_seconds": sum(gather_objects(sum(cpu[WARM_STEPS:]))),
        "calls": counted.calls,
        "bytes": counted.bytes,
        "parameters": sum(int(weight.size) for weight in weights),
    }


if __name__ == "__main__":
    report_cases(measure)
