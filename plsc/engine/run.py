"""What each command does, from a checked config to its result."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import paddle
from paddle import nn

from plsc import __version__
from plsc.checkpoint.folder import Checkpoint
from plsc.config.load import dump_config
from plsc.config.sections import Config
from plsc.distributed import world
from plsc.engine import build, build_data, start
from plsc.engine.keeper import Keeper, Phase
from plsc.engine.log import RunLog
from plsc.engine.trainer import Training, fit
from plsc.export.convert import export_onnx, export_paddle
from plsc.files.atomic import write_text
from plsc.nn import environment as runtime
from plsc.recognition.description import describe_model, metadata, model_card
from plsc.recognition.plan import forecast
from plsc.report.evaluation import Measured
from plsc.report.outputs import Outputs
from plsc.weights.preparation import preparation_notes
from plsc.weights.pretrained import find_weights, take_weights


def train(config: Config, folder: Path, phase: Phase) -> None:
    """Train as the config says; `phase` is told what the process is at."""
    build.check_components(config)
    build.check_training(config)
    start.check_sources(config)
    dataset = build_data.build_train_dataset(config)
    loader = build_data.build_loader(config, dataset)
    evaluators = build_data.build_evaluators(config) if config.Global.eval_during_train else []
    build_data.check_best_set(config, evaluators)
    loader.start()  # worker processes are forked while this one is still small and without a GPU
    build.set_device(config.Global.device)
    place = world.init(device=config.Global.device)

    log = RunLog(folder, "train", enabled=place.is_main, visualdl=config.Global.use_visualdl)
    start.check_shared(folder)
    phase("building the model")
    ranks = {"ranks": place.size, "local_ranks": place.local_size}
    if place.is_main:
        _estimate(log, lambda: forecast.before_building(config, **ranks))
    training = build.build_training(config, loader)
    _describe(training, config, folder.name, log)
    if place.is_main:
        _estimate(log, lambda: forecast.lines(config, training.backbone.backbone, **ranks))
    saver = start.start(training, config, dataset, folder, log)
    if place.is_main:
        write_text(folder / "config.yaml", dump_config(config))
    meta = {
        "config": config.to_dict(),
        "model": describe_model(config, num_features=training.head.centres.dim),
        "plsc": __version__,
        "paddle": paddle.__version__,
        "runtime": runtime.in_effect(),
        "world_size": place.size,
    }
    keeper = Keeper(training, config, folder, log, saver, evaluators, meta, phase)
    keeper.listen()
    try:
        fit(training, keeper)
    finally:
        loader.close()
        log.close()


def _describe(training: Training, config: Config, name: str, log: RunLog) -> None:
    """The first lines of a run: what is in effect."""
    place, progress = world.current(), training.progress
    backbone, shard = training.backbone.backbone, training.head.centres.shard
    statistics = ("_mean", "_variance")  # Paddle counts them among the parameters
    parameters = sum(
        item.size for name, item in backbone.named_parameters() if not name.endswith(statistics)
    )
    used = training.head.num_sample(progress.fraction)
    for note in (*config.notes, *(n for _, loss in training.head.losses for n in loss.notes())):
        log.line(note)
    log.line(
        f"plsc {__version__}, paddle {paddle.__version__}, device {paddle.device.get_device()}, "
        f"{place.size} process(es), {runtime.describe()}; "
        f"precision in effect: {training.precision.effective}"
    )
    log.line(
        f"{name}: {parameters / 1e6:.2f} M parameters; "
        f"head: {shard.num_classes} classes × {training.head.centres.dim}, "
        f"{shard.num_local} on this rank, {used} of them used in a step"
    )
    log.line(
        f"{progress.num_images} images, global batch {progress.global_batch}, "
        f"{progress.steps_per_epoch} steps per epoch, {progress.epochs} epochs"
    )


def _estimate(log: RunLog, lines: Callable[[], list[str]]) -> None:
    """Log an estimate; a backbone that none can be made for is trained all the same."""
    try:
        found = lines()
    except Exception as error:
        found = [f"no estimate of memory: {error!r}"]
    for line in found:
        log.line(line)


def _backbone_with_weights(config: Config, command: str, log: RunLog) -> tuple[nn.Layer, str]:
    path = start.check_weights_given(config, command)
    backbone = build.build_backbone(config, f"plsc-{command}")
    weights = take_weights(path, backbone)
    for note in (*weights.notes, *preparation_notes(weights, config)):
        log.line(f"{path}: {note}")
    backbone.eval()
    return backbone, path


def evaluate(
    config: Config, folder: Path, outputs: Outputs | None = None
) -> dict[str, dict[str, float]]:
    """Metrics of the config's weights on each set of DataLoader.Eval; all ranks together.

    Rank 0 also prints tables and writes what `outputs` asks for.
    """
    outputs = outputs or Outputs()
    build.check_components(config)
    start.check_weights_given(config, "eval")
    evaluators = build_data.build_evaluators(config)
    outputs.check()
    build.set_device(config.Global.device)
    place = world.init(device=config.Global.device)
    console = sys.stderr if outputs.json_to_stdout else None
    log = RunLog(folder, "eval", enabled=place.is_main, console=console)
    backbone, path = _backbone_with_weights(config, "eval", log)
    precision = build.build_precision(config)
    results: dict[str, dict[str, float]] = {}
    measured = []
    for evaluator in evaluators:
        began = time.perf_counter()
        report = evaluator.report(backbone, precision)
        seconds = time.perf_counter() - began
        result = evaluator.scalars(report)
        results.setdefault(evaluator.name, {}).update(result)
        log.line(
            f"[Eval] {path}: {evaluator.name}: {evaluator.shown(result)} "
            f"({len(evaluator.dataset) // 2} pairs, {seconds:.1f} s, {precision.effective})"
        )
        measured.append(Measured(report, evaluator.dataset))
    log.close()
    if place.is_main:
        card = model_card(config, path, dim=backbone.num_features, precision=precision.effective)
        outputs.write(card, measured)
    return results


def _for_export(config: Config) -> Config:
    """The config with NCHW maps: converters know no other, and the weights are the same."""
    model = config.Model
    if model is None or "data_format" not in model.params:
        return config
    return replace(config, Model=replace(model, params={**model.params, "data_format": "NCHW"}))


def export(config: Config, folder: Path) -> Path:
    """Export the backbone of the config to `<output_dir>/<Model.name>.onnx` or Paddle's format."""
    config = _for_export(config)
    build.check_components(config)
    start.check_weights_given(config, "export")
    build.set_device("cpu")  # exact arithmetic to compare with, and no need for the GPU of a config
    log = RunLog(folder, "export", enabled=True)
    backbone, path = _backbone_with_weights(config, "export", log)
    found = find_weights(path)
    state = found.state if isinstance(found, Checkpoint) else {}
    said = metadata(state, config, num_features=backbone.num_features, source=path)
    said |= {"source": path, "backbone": folder.name}
    kept = state.get("thresholds") or {}
    if config.Export.preprocessing != "none" and (kept.get("flip") or kept.get("prepared")):
        # Of sums with mirrored images, where sums of embeddings of length 1 are others; or of
        # pixels that options prepared, where this file prepares them itself.
        del said["thresholds"]
        log.line("thresholds left out: measure this file anew")
    if config.Export.preprocessing != "none" and said.pop("quality", ""):
        log.line("quality calibration left out: embeddings of length 1 say nothing of quality")
    target = folder
    if config.Export.export_type == "onnx":
        target = folder.with_name(folder.name + ".onnx")
        report = export_onnx(
            backbone,
            target,
            opset=config.Export.opset,
            metadata=said,
            preprocessing=config.Export.preprocessing,
            fp16=config.Export.fp16,
        )
    else:
        report = export_paddle(backbone, target, metadata=said)
    log.line(f"exported {path} to {target}: {report}")
    log.close()
    return target
