"""Run each command, from a checked config to its result."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import paddle
from paddle import nn

from plsc import __version__
from plsc.checkpoint.folder import Checkpoint
from plsc.config.load import dump_config
from plsc.config.sections import Config
from plsc.distributed import between_hosts, world
from plsc.engine import build, starting_point
from plsc.engine.checkpoints import Checkpoints
from plsc.engine.evaluation import Evaluation, network_function
from plsc.engine.log import RunLog
from plsc.engine.recorder import Phase, Recorder
from plsc.engine.stopping import Stopping
from plsc.engine.task import Evaluator, TaskType
from plsc.engine.trainer import fit
from plsc.engine.training import Training
from plsc.export.convert import export_onnx, export_paddle
from plsc.files.atomic import write_text
from plsc.nn import environment
from plsc.scheduler.warmup import WarmupSchedule, idle_warnings
from plsc.weights.preparation import preparation_notes
from plsc.weights.pretrained import find_weights, take_weights

JOINING = -1.0  # the position before all that is done together


class Outputs(Protocol):
    """Outputs of an evaluation that the user wants beside the log."""

    @property
    def json_to_stdout(self) -> bool:
        """Tell whether standard output is for JSON alone."""

    def check(self) -> None:
        """Refuse places that cannot be written to, before the work."""


class Claim(AbstractContextManager["Claim"], Protocol):
    """Holds a run's folder for one run."""

    def require(self) -> None:
        """Check that the folder still is this run's."""


def train(config: Config, folder: Path, phase: Phase, *, claim: Claim | None = None) -> None:
    """Train as the config says.

    Args:
        config: with all that a training needs.
        folder: `<output_dir>/<Model.name>`.
        phase: told what the process is at.
        claim: held on `folder` by the rank that speaks for all.

    """
    build.check_components(config)
    build.check_training(config)
    starting_point.check_sources(config, folder)
    with claim or nullcontext():
        _train(config, folder, phase, (lambda: None) if claim is None else claim.require)


def _train(config: Config, folder: Path, phase: Phase, require: Callable[[], None]) -> None:
    """Do what `train` does with a folder that is this run's; `require` checks that it stays so."""
    task = build.task_type(config)
    dataset = task.dataset(config)
    loader = build.build_loader(config, dataset)
    evaluators = task.evaluators(config) if config.Global.eval_during_train else []
    build.check_best_set(config, evaluators)
    loader.start()  # worker processes are forked while this one is still small and without a GPU
    build.set_device(config.Global.device)
    phase("joining the other ranks", position=JOINING)
    place = world.init(device=config.Global.device)

    log = RunLog(folder, "train", enabled=place.is_main, visualdl=config.Global.use_visualdl)
    starting_point.check_shared(folder)
    for note in getattr(dataset, "notes", ()):
        log.line(note)
    phase("building the model")
    _estimate(config, task, None, log)
    training = build.build_training(config, loader, dataset)
    _describe(training, config, folder.name, log)
    _estimate(config, task, training.network.layer, log)
    saver = starting_point.begin(training, config, dataset, folder, log)
    if place.is_main:
        write_text(folder / "config.yaml", dump_config(config))
    recorder = Recorder(
        training, config, folder, log, watchers=training.task.watchers(log), phase=phase
    )
    meta, pause = _meta(config, task, training.network.layer), recorder.pause
    checkpoints = Checkpoints(
        training, config.Global, saver, meta=meta, log=log, pause=pause, require=require
    )
    spec = task.export_spec(config, training.network.layer, {}, str(folder))
    evaluation = Evaluation(
        training, evaluators, spec, config, checkpoints=checkpoints, log=log, pause=pause
    )
    stopping = Stopping(training.progress, log, max_train_step=config.Global.max_train_step)
    stopping.listen()
    try:
        fit(training, recorder, evaluation, checkpoints, stopping)
    finally:
        loader.close()
        log.close()


def _meta(config: Config, task: TaskType, network: nn.Layer) -> dict[str, Any]:
    """Return what every checkpoint of a run says beside its state."""
    return {
        "task": config.Global.task_type,
        "config": config.to_dict(),
        "model": task.describe(config, network),
        "plsc": __version__,
        "paddle": paddle.__version__,
        "runtime": environment.in_effect(),
        "world_size": world.current().size,
    }


def _describe(training: Training, config: Config, name: str, log: RunLog) -> None:
    """Log the first lines of a run: what is in effect."""
    place, progress = world.current(), training.progress
    statistics = ("_mean", "_variance")  # Paddle counts them among the parameters
    parameters = sum(
        item.size
        for key, item in training.network.layer.named_parameters()
        if not key.endswith(statistics)
    )
    for note in (*config.notes, *training.task.notes()):
        log.line(note)
    log.line(
        f"plsc {__version__}, paddle {paddle.__version__}, device {paddle.device.get_device()}, "
        f"{place.size} process(es), {environment.describe()}; "
        f"precision in effect: {training.precision.effective}"
    )
    if between := between_hosts.describe():
        log.line(between)
    beside = training.task.describe(progress.fraction)
    log.line(f"{name}: {parameters / 1e6:.2f} M parameters{beside and '; '}{beside}")
    if isinstance(training.schedule, WarmupSchedule):
        for warning in idle_warnings(training.schedule):
            log.warning(warning)
    log.line(
        f"{progress.num_images} images, global batch {progress.global_batch}, "
        f"{progress.steps_per_epoch} steps per epoch, {progress.epochs} epochs"
    )


def _estimate(config: Config, task: TaskType, network: nn.Layer | None, log: RunLog) -> None:
    """Log an estimate of memory; a network that none can be made for is trained all the same."""
    place = world.current()
    if not place.is_main:
        return
    try:
        found = task.memory(config, network, ranks=place.size, local_ranks=place.local_size)
    except Exception as error:
        found = [f"no estimate of memory: {error!r}"]
    for line in found:
        log.line(line)


def _network_with_weights(config: Config, command: str, log: RunLog) -> tuple[nn.Layer, str]:
    path = starting_point.check_weights_given(config, command)
    network = build.build_network(config)
    weights = take_weights(path, network)
    for note in (*weights.notes, *preparation_notes(weights, config)):
        log.line(f"{path}: {note}")
    network.eval()
    return network, path


def evaluate(
    config: Config, folder: Path, outputs: Outputs | None = None
) -> dict[str, dict[str, float]]:
    """Measure the config's weights on each set of DataLoader.Eval; all ranks together.

    Rank 0 also writes what `outputs` asks for.

    Returns:
        figures by name, by name of the set.

    """
    build.check_components(config)
    starting_point.check_weights_given(config, "eval")
    task = build.task_type(config)
    evaluators = task.evaluators(config)
    if outputs is not None:
        outputs.check()
    build.set_device(config.Global.device)
    place = world.init(device=config.Global.device)
    console = sys.stderr if outputs is not None and outputs.json_to_stdout else None
    log = RunLog(folder, "eval", enabled=place.is_main, console=console)
    network, path = _network_with_weights(config, "eval", log)
    measured = _measure(config, evaluators, network, path, log)
    log.close()
    if place.is_main and outputs is not None:
        precision = build.build_precision(config).effective
        task.write_report(config, path, precision, network, measured, outputs)
    results: dict[str, dict[str, float]] = {}
    for evaluator, report in measured:
        results.setdefault(evaluator.name, {}).update(evaluator.scalars(report))
    return results


def _measure(
    config: Config, evaluators: Sequence[Evaluator], network: nn.Layer, path: str, log: RunLog
) -> list[tuple[Evaluator, Any]]:
    """Return each evaluator's report; log its figures and its time."""
    precision = build.build_precision(config)
    spec = build.task_type(config).export_spec(config, network, {}, path)
    total = sum(evaluator.num_samples for evaluator in evaluators)
    measured = []
    with network_function(network, precision, spec, num_samples=total) as function:
        for evaluator in evaluators:
            began = time.perf_counter()
            report = evaluator.report(function)
            seconds = time.perf_counter() - began
            log.line(
                f"[Eval] {path}: {evaluator.name}: {evaluator.shown(evaluator.scalars(report))} "
                f"({evaluator.size()}, {seconds:.1f} s, {precision.effective})"
            )
            measured.append((evaluator, report))
    return measured


def export(config: Config, folder: Path) -> Path:
    """Export the network of the config to `<output_dir>/<Model.name>.onnx` or Paddle's format."""
    task = build.task_type(config)
    config = task.for_export(config)
    build.check_components(config)
    starting_point.check_weights_given(config, "export")
    build.set_device("cpu")  # exact arithmetic to compare with, and no need for the GPU of a config
    log = RunLog(folder, "export", enabled=True)
    network, path = _network_with_weights(config, "export", log)
    found = find_weights(path)
    state = found.state if isinstance(found, Checkpoint) else {}
    spec, target = task.export_spec(config, network, state, path), folder
    for note in spec.notes:
        log.line(note)
    if config.Export.export_type == "onnx":
        target = folder.with_name(folder.name + ".onnx")
        opset, fp16 = config.Export.opset, config.Export.fp16
        report = export_onnx(network, target, spec, opset=opset, fp16=fp16)
    else:
        report = export_paddle(network, target, spec)
    log.line(f"exported {path} to {target}: {report}")
    log.close()
    return target
