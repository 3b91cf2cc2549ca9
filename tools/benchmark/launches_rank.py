"""One rank of launches.py: a step of each case, counted over the whole body of the loop."""

import collections
import contextlib
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from launch_counter import LaunchCounter
from training_config import training_config
from worlds import report_cases

from plsc.distributed import world

COUNTED_STEP = 3  # from 1: by then all buffers are made


class Network:
    """A network whose forward pass is a phase; all else is the network's own."""

    def __init__(self, network: Any, counter: LaunchCounter):
        self._network, self._counter = network, counter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, inputs: Any) -> Any:
        """See DataParallel."""
        with self._counter.phase("forward"):
            return self._network(inputs)


class CountedStep:
    """Stands where the recorder does; counts from the beginning of one step to that of the next."""

    def __init__(self, counter: LaunchCounter):
        self._counter, self._steps = counter, 0
        self._counting = contextlib.ExitStack()

    def epoch(self, batches: Any) -> Any:
        """Return the batches as they are."""
        return batches

    def step_begins(self) -> None:
        """Begin or end to count."""
        self._steps += 1
        if self._steps == COUNTED_STEP:
            self._counting.enter_context(self._counter.counting())
        elif self._steps == COUNTED_STEP + 1:
            self._counting.close()

    def step_ends(self, report: Any) -> None:
        """Nothing to do; the same below."""

    epoch_ends = run_ends = lambda self: None


def count(case: dict[str, Any]) -> dict[str, Any]:
    """Return launches and waits of a step of a case, by phase."""
    import paddle

    from plsc.engine import build
    from plsc.engine.stopping import Stopping
    from plsc.engine.trainer import fit

    config = training_config(
        case["backbone"],
        classes=case["classes"],
        ratio=0.1,
        optimizer=case["optimizer"],
        Global={"accum_steps": case["parts"], "seed": 1},
        Loss={"Train": [{case["loss"]: {}}]},
        DataLoader={
            "Train": {
                "dataset": {
                    "name": "FaceRandomDataset",
                    "num_classes": case["classes"],
                    "num_images": 8 * case["batch"] * world.current().size,
                },
                "sampler": {"batch_size": case["batch"]},
                "loader": {"num_workers": 0},
            }
        },
    )
    dataset = build.task_type(config).dataset(config)
    training = build.build_training(config, build.build_loader(config, dataset), dataset)
    counter, task, updater = LaunchCounter(), training.task, training.updater
    training.network = Network(training.network, counter)  # type: ignore[assignment]
    for phase, owner, name in (
        ("input", training, "normalise"),
        ("begin_step", task, "begin_step"),
        ("head", task, "loss"),
        ("backward", paddle.Tensor, "backward"),
        ("update", updater, "squares"),
        ("update", updater, "step"),
    ):
        setattr(owner, name, counter.in_phase(phase, getattr(owner, name)))
    nothing = collections.namedtuple("Nothing", "after save")(lambda _: None, lambda: None)
    log: Any = collections.namedtuple("Log", "line end_progress")(lambda _: None, lambda: None)
    stopping = Stopping(training.progress, log, max_train_step=COUNTED_STEP + 1)
    fit(training, CountedStep(counter), nothing, nothing, stopping)  # type: ignore[arg-type]
    paddle.Tensor.backward = paddle.Tensor.backward.__wrapped__
    tensors, weights = len(updater.dense.weights), updater.dense.weights.values()
    return {
        **case,
        "ranks": world.current().size,
        "parameter_tensors": tensors,
        "parameters": sum(int(weight.size) for weight in weights),
        **{kind: {"total": found.total(), **found} for kind, found in counter.counts.items()},
        "update_limit": int(1.5 * tensors + 60),
    }


def count_as_on_a_gpu(case: dict[str, Any]) -> dict[str, Any]:
    """Return what `count` does, with rows cut as on a GPU and none of numpy's work for a CPU."""
    from plsc.recognition.heads import gradient
    from plsc.recognition.losses import matrices

    gradient.CPU_CHUNK = gradient.GPU_CHUNK
    matrices.on_cpu = lambda: False
    return count(case)


if __name__ == "__main__":
    report_cases(count_as_on_a_gpu)
