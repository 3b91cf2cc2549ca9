"""A task that has nothing to do with faces: a line through noise. The engine trains it by name.

The shortest task there can be: it shows what a second one has to say, and that the engine needs no
more. `Global.plugins: [noise_task]` registers it.
"""

from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn

from plsc.config.readers import SHARED_SECTIONS, section_reader
from plsc.config.registry import DATASETS, TASKS
from plsc.data.transforms.normalisation import as_given
from plsc.distributed.collectives import reduce_sum
from plsc.engine.task import StepLoss, TaskType, TrainingTask
from plsc.export.spec import ExportSpec, Input

WIDTH = 4


@dataclass(frozen=True)
class NoiseModel:
    """`Model`."""

    name: str


@dataclass(frozen=True)
class SquaredError:
    """`Loss`."""

    weight: float = 1.0


@DATASETS.register
class NoiseDataset:
    """Points [4] and what a hidden line makes of them, with noise; depends on the index alone."""

    fields = {"images": ((WIDTH,), np.float32), "targets": ((1,), np.float32)}
    normalise = staticmethod(as_given)

    def __init__(self, size: int):
        self.size, self.skipped = size, {}

    def __len__(self):
        return self.size

    def get(self, index, rng):
        random = np.random.default_rng(index)
        point = random.normal(size=WIDTH).astype(np.float32)
        return {"images": point, "targets": point[:1] - point[1:2] + 0.01 * point[2:3] ** 2}


class NoiseTraining(TrainingTask):
    """Mean squared error over the samples of all ranks and parts."""

    def __init__(self, weight):
        self.weight = weight

    def begin_step(self, batch, *, step, fraction, upcoming=None):
        self.count = reduce_sum(paddle.to_tensor(float(len(batch))))

    def loss(self, outputs, part):
        errors = outputs["value"] - paddle.to_tensor(part["targets"])
        own = errors.square().sum() * (self.weight / self.count)
        return StepLoss(own, reduce_sum(own))


@TASKS.register
class noise(TaskType):  # noqa: N801
    """The task `Global.task_type: noise`."""

    sections = {
        **SHARED_SECTIONS,
        "Model": section_reader(NoiseModel),
        "Loss": section_reader(SquaredError),
    }

    def network(self, config):
        return NoiseNet()

    def training(self, config, network, dataset, state_names):
        return NoiseTraining(config.Loss.weight)

    def export_spec(self, config, network, state, source):
        return ExportSpec(
            inputs={"images": Input((None, WIDTH), "float32")},
            outputs=("value",),
            probes=lambda count: {"images": np.ones((count, WIDTH), np.float32)},
        )


class NoiseNet(nn.Layer):
    """[b, 4] -> {"value": [b, 1]}."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(WIDTH, 1)

    def forward(self, images):
        return {"value": self.line(images)}
