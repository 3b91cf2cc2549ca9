"""The commands: argv -> Config -> one call. Paddle is imported after the config has been read."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from plsc import __version__
from plsc.cli.evaluation_options import add_evaluation_options, check_way_of_use
from plsc.config.load import load_config, require
from plsc.config.sections import Config
from plsc.distributed import world
from plsc.errors import UserError
from plsc.nn import environment as runtime
from plsc.supervise import SUPERVISED, Heartbeat, record_failure, supervise

EXAMPLES = {
    "train": """\
examples:
  plsc-train -c configs/quickstart.yaml
  python -m paddle.distributed.launch --nproc_per_node=2 plsc-train -c X.yaml     (2 processes, CPU)
  python -m paddle.distributed.launch --devices=0,1,2,3 plsc-train -c X.yaml      (4 GPUs)
  plsc-train -c X.yaml -o Global.checkpoint=output/IResNet50/latest               (resume)
  plsc-train -c X.yaml -o Global.device=cpu -o DataLoader.Train.sampler.batch_size=32
""",
    "eval": """\
examples:
  plsc-eval -c X.yaml -o Global.pretrained_model=output/IResNet50/best_model
  plsc-eval -c X.yaml -o Global.pretrained_model=plsc_v2/IResNet50/latest         (PLSC's .pdparams)
  plsc-eval --model w600k_r50.onnx --bin lfw.bin cfp_fp.bin agedb_30.bin          (no config)
  plsc-eval --model output/IResNet50/best_model --pairs mine/pairs.txt --report report --json -
""",
    "export": """\
examples:
  plsc-export -c X.yaml -o Global.pretrained_model=output/IResNet50/best_model
  plsc-export -c X.yaml -o Global.pretrained_model=… -o Export.preprocessing=nhwc       (uint8 in)
  plsc-export -c X.yaml -o Global.pretrained_model=… -o Export.fp16=True -o Export.opset=11
  plsc-export -c X.yaml -o Global.pretrained_model=… -o Export.export_type=paddle
""",
}
USAGE = {
    "eval": """plsc-eval -c CONFIG.yaml [-o Key.sub.0.key=value]... [--json OUT] [--report DIR]
       plsc-eval --model M [--bin F]... [--pairs LIST]... [--json OUT] [--report DIR] [...]"""
}
SUMMARY = {
    "train": "Train the model of a config; one process, or one of several under the launcher.",
    "eval": "Measure a model on pairs of faces: accuracy, TAR at FAR, thresholds. Either the "
    "weights\nof a config (-c) on the sets of its DataLoader.Eval, or any --model on any sets.",
    "export": "Write the backbone as ONNX or Paddle inference model and prove that it is the same.",
}


def train(argv: Sequence[str] | None = None) -> int:
    """`plsc-train`: returns the exit status."""
    return _command("train", argv, _train)


def evaluate(argv: Sequence[str] | None = None) -> int:
    """`plsc-eval`: returns the exit status."""
    options = _parser("eval").parse_args(argv)
    try:
        check_way_of_use(options)
        if options.model is not None and world.current().size > 1:
            raise UserError("--model works in one process: call it without the launcher")
    except UserError as error:
        print(f"plsc-eval: error: {error}", file=sys.stderr, flush=True)
        return 2
    if options.model is None:
        return _command("eval", argv, _evaluate)
    from plsc.cli import evaluate_model as evaluation
    from plsc.cli.status import exit_status

    return exit_status("plsc-eval", lambda: evaluation.run(options))


def export(argv: Sequence[str] | None = None) -> int:
    """`plsc-export`: returns the exit status."""
    return _command("export", argv, _export)


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"plsc-{command}",
        usage=USAGE.get(command),
        description=SUMMARY[command],
        epilog=EXAMPLES[command],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    either = command == "eval"
    parser.add_argument(
        "-c", "--config", required=not either, metavar="CONFIG.yaml", help="the config"
    )
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="Key.sub.0.key=value",
        help="change one key of the config; repeatable; numbers in the path index lists",
    )
    if either:
        add_evaluation_options(parser)
    parser.add_argument("--version", action="version", version=f"plsc {__version__}")
    return parser


def _command(
    name: str,
    argv: Sequence[str] | None,
    body: Callable[[Config, argparse.Namespace, Heartbeat], None],
) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser(name).parse_args(arguments)
    place = world.current()
    try:
        config = load_config(options.config, options.override)
        if place.size > 1 and SUPERVISED not in os.environ:
            return supervise(
                [sys.executable, *_this_command(name), *arguments],
                folder=output_folder(config) / ".run" / world.launch_id(),
                rank=place.rank,
                size=place.size,
                host=place.host,
                heartbeat_timeout=config.Global.rank_timeout,
            )
        runtime.prepare(local_size=place.local_size)
        runtime.import_paddle()
        with Heartbeat() as heartbeat:
            body(config, options, heartbeat)
        return 0
    except UserError as error:
        print(f"plsc-{name}: error: {error}", file=sys.stderr, flush=True)
        record_failure(str(error))
        return 2
    except Exception as error:
        traceback.print_exc()
        record_failure(f"{type(error).__name__}: {error}")
        return 1


def _this_command(name: str) -> list[str]:
    """How this process was called: the script, so that the same plsc is imported again."""
    script = Path(sys.argv[0])
    return ["-m", "plsc", name] if script.name == "__main__.py" else [str(script)]


def output_folder(config: Config) -> Path:
    """`<output_dir>/<Model.name>`: where a run keeps everything."""
    return Path(config.Global.output_dir) / require(config.Model, "Model", "plsc").name


def _train(config: Config, options: argparse.Namespace, heartbeat: Heartbeat) -> None:
    from plsc.engine import run

    run.train(config, output_folder(config), heartbeat.note)


def _evaluate(config: Config, options: argparse.Namespace, heartbeat: Heartbeat) -> None:
    from plsc.engine import run
    from plsc.report.outputs import Outputs

    run.evaluate(config, output_folder(config), Outputs(options.json, options.report))


def _export(config: Config, options: argparse.Namespace, heartbeat: Heartbeat) -> None:
    from plsc.engine import run

    run.export(config, output_folder(config))
