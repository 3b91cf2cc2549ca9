"""Measuring a network on the evaluation sets, in training and for plsc-eval."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import paddle
from paddle import Tensor, nn

from plsc.config.sections import MEAN, Config
from plsc.distributed.data_parallel import average_buffers
from plsc.engine.checkpoints import Checkpoints
from plsc.engine.log import RunLog
from plsc.engine.onnx_runtime import onnx_function
from plsc.engine.precision import Precision
from plsc.engine.recorder import Pause
from plsc.engine.task import Evaluator, NetworkFunction
from plsc.engine.training import Training
from plsc.errors import Unmeasurable
from plsc.export.program import named
from plsc.export.spec import ExportSpec
from plsc.files.onnx_file import Run
from plsc.nn.evaluation_mode import evaluating


@contextmanager
def network_function(
    layer: nn.Layer, precision: Precision, spec: ExportSpec, *, num_samples: int
) -> Iterator[NetworkFunction]:
    """Yield `layer` in evaluation mode as a function of arrays; called by all ranks.

    All ranks get the mean of their BatchNorm statistics first. On a CPU, ONNX Runtime computes
    where that pays.

    Args:
        layer: the network.
        precision: under which it runs.
        spec: how it is exported.
        num_samples: inputs that each rank will give it.

    """
    average_buffers(layer)
    with evaluating(layer):
        run = onnx_function(layer, spec, num_samples=num_samples)
        yield _run_by_paddle(layer, precision, spec) if run is None else _of_one_input(run, spec)


def _of_one_input(run: Run, spec: ExportSpec) -> NetworkFunction:
    (name,) = spec.inputs
    return lambda inputs: run({name: inputs})


def _run_by_paddle(layer: nn.Layer, precision: Precision, spec: ExportSpec) -> NetworkFunction:
    @paddle.no_grad()
    def run(inputs: np.ndarray) -> dict[str, np.ndarray]:
        with precision.autocast():
            outputs = layer(paddle.to_tensor(inputs))
        return {name: _as_array(leaf) for name, leaf in named(outputs, spec.outputs).items()}

    return run


def _as_array(output: Tensor) -> np.ndarray:
    """Return an output as an array, floats as float32."""
    found: np.ndarray = (output.astype("float32") if output.is_floating_point() else output).numpy()
    return found


class Evaluation:
    """Evaluates in training; keeps the best by the sets that `Metric.best_set` chooses.

    Args:
        training: whose network is measured.
        evaluators: one for each set and metric.
        spec: how the network is exported.
        config: says when, and which set decides.
        checkpoints: saves the best.
        log: hears the figures.
        pause: around the work, as Recorder's.

    """

    def __init__(
        self,
        training: Training,
        evaluators: Sequence[Evaluator],
        spec: ExportSpec,
        config: Config,
        *,
        checkpoints: Checkpoints,
        log: RunLog,
        pause: Pause,
    ):
        self._training, self._evaluators, self._spec = training, evaluators, spec
        self._settings, self._best_set = config.Global, config.Metric.best_set
        self._checkpoints, self._log, self._pause = checkpoints, log, pause
        self._evaluated_step = -1

    def after(self, what: str) -> None:
        """Evaluate after a "step" or an "epoch" if Global.eval_interval says so."""
        settings = self._settings
        if self._training.progress.due(settings.eval_unit, settings.eval_interval, after=what):
            self.run()

    def run(self) -> None:
        """Measure the network as it is, once for each step; save it if it is the best so far."""
        progress = self._training.progress
        if not self._evaluators or self._evaluated_step == progress.step:
            return
        self._evaluated_step = progress.step
        with self._pause("evaluation"):
            metrics = self._measure_all()
            mean = _mean([metric for _, metric in metrics])
            if mean is not None and len(metrics) > 1:
                self._log.line(f"[Eval][Step {progress.step}] mean of {len(metrics)}: {mean:.5f}")
            deciding = _mean([metric for name, metric in metrics if self._best_set in (MEAN, name)])
            best = progress.best_metric
            if deciding is not None and (best is None or deciding > best):
                progress.best_metric = deciding
                self._checkpoints.save(best=True)

    def _measure_all(self) -> list[tuple[str, float | None]]:
        training = self._training
        total = sum(evaluator.num_samples for evaluator in self._evaluators)
        with network_function(
            training.network.layer, training.precision, self._spec, num_samples=total
        ) as network:
            return [(item.name, self._measure(item, network)) for item in self._evaluators]

    def _measure(self, evaluator: Evaluator, network: NetworkFunction) -> float | None:
        """Return the evaluator's metric; None where the outputs tell nothing, as early on."""
        progress = self._training.progress
        epoch = progress.epoch + bool(progress.consumed)
        where = f"[Eval][Epoch {epoch}][Step {progress.step}]"
        entry = {"kind": "eval", "step": progress.step, "epoch": epoch, "set": evaluator.name}
        try:
            result = evaluator.scalars(evaluator.report(network))
        except Unmeasurable as error:
            self._log.line(f"{where} {evaluator.name}: WARNING: {error}")
            self._log.record({**entry, "collapsed": str(error)})
            return None
        self._log.line(f"{where} {evaluator.name}: {evaluator.shown(result)}")
        scalar = f"eval_metric/{evaluator.name}"
        self._log.record({**entry, **result}, scalars={scalar: result["metric"]})
        return result["metric"]


def _mean(metrics: list[float | None]) -> float | None:
    """Return the mean; None if one of them is."""
    found = [metric for metric in metrics if metric is not None]
    return math.fsum(found) / len(found) if len(found) == len(metrics) else None
