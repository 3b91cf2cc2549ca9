"""`plsc-eval`: measure a model on pairs of faces, with a config or without one."""

import argparse
from collections.abc import Sequence

from plsc.cli.options import OF_MODEL, add_flip, add_input_options, add_shared, spellings
from plsc.cli.run_config import config_parser, output_folder, run_config
from plsc.cli.status import exit_status
from plsc.config.sections import Config
from plsc.distributed import world
from plsc.errors import UserError

DESCRIPTION = """\
Measure a model on pairs of faces: accuracy, TAR at FAR, thresholds. Either the weights
of a config (-c) on the sets of its DataLoader.Eval, or any --model on any sets."""
EXAMPLES = """\
examples:
  plsc-eval -c X.yaml -o Global.pretrained_model=output/IResNet50/best_model
  plsc-eval -c X.yaml -o Global.pretrained_model=plsc_v2/IResNet50/latest         (PLSC's .pdparams)
  plsc-eval --model w600k_r50.onnx --bin lfw.bin cfp_fp.bin agedb_30.bin          (no config)
  plsc-eval --model output/IResNet50/best_model --pairs mine/pairs.txt --report report --json -
"""
USAGE = """plsc-eval -c CONFIG.yaml [-o Key.sub.0.key=value]... [--json OUT] [--report DIR]
       plsc-eval --model M [--bin F]... [--pairs LIST]... [--json OUT] [--report DIR] [...]"""
PROTOCOLS = ("insightface", "magface")
MODEL_ONLY = (
    *("bin", "pairs", "image_root", "protocol", "flip", "resize", "store_thresholds"),
    *OF_MODEL,
    *("plugins", "provider", "batch_size", "num_workers"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return exit_status("plsc-eval", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    options = build_parser().parse_args(argv)
    check_way_of_use(options)
    if options.model is None:
        return run_config("eval", options, argv, lambda config, _: _evaluate(config, options))
    if world.current().size > 1:
        raise UserError("--model works in one process: call it without the launcher")
    from plsc.cli import evaluate_model

    evaluate_model.run(options)
    return 0


def _evaluate(config: Config, options: argparse.Namespace) -> None:
    from plsc.engine import run
    from plsc.recognition.report.outputs import Outputs

    run.evaluate(config, output_folder(config), Outputs(options.json, options.report))


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = config_parser(
        "eval", description=DESCRIPTION, examples=EXAMPLES, usage=USAGE, config_required=False
    )
    add_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes beside `-c` and `-o`."""
    parser.add_argument(
        "--model",
        metavar="M",
        help="instead of a config: an .onnx file of anyone's, a checkpoint folder, the stem of a "
        "Paddle inference model, or the .pth of an IResNet (MagFace, arcface_torch)",
    )
    both = parser.add_argument_group("results, in both ways of use")
    both.add_argument("--json", metavar="OUT", help="write all figures as JSON; - prints them")
    both.add_argument(
        "--report",
        metavar="DIR",
        help="write DIR/index.html: ROC, score histograms, thresholds, the hardest pairs",
    )
    sets = parser.add_argument_group("verification sets, with --model")
    add_shared(sets, "bin")
    add_shared(sets, "pairs")
    add_shared(
        sets, "image_root", help="the folder that the lists' paths begin at (the list's own)"
    )
    sets.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        help="of the accuracies: insightface's (the default), or magface's: angles, after the "
        "mean of the other folds' embeddings is subtracted, of the images without mirror images; "
        "a config names the metric AngularAcc",
    )
    text = "sum: add the embeddings of the mirrored images (the default of insightface's protocol)"
    add_flip(sets, default=None, help=text)
    add_shared(sets, "resize", default=None)
    sets.add_argument(
        *spellings("store_thresholds"),
        nargs="?",
        const="",
        metavar="SET",
        help="write the thresholds of this set (of the only one) into the model's file: "
        "plsc-compare then judges by them",
    )
    add_input_options(parser, "the model's input, with --model")
    speed = parser.add_argument_group("speed, with --model")
    add_shared(
        speed, "provider", default=None, help="cpu, cuda, or a provider of ONNX Runtime (cpu)"
    )
    add_shared(speed, "batch_size", default=None, help="images at once (64)")
    text = "processes that read images (the cores available)"
    add_shared(speed, "num_workers", default=None, help=text)


def check_way_of_use(options: argparse.Namespace) -> None:
    """Check that the options are all of a config's evaluation, or all of a model's.

    Raises:
        UserError: both, neither, or a mixture.

    """
    if (options.config is None) == (options.model is None):
        got = "neither" if options.config is None else "both"
        raise UserError(f"give -c CONFIG.yaml, or --model M with --bin or --pairs; got {got}")
    if options.model is not None:
        if options.override:
            raise UserError("-o changes a key of a config: it goes with -c, not with --model")
        return
    for name in MODEL_ONLY:
        if (value := getattr(options, name)) is not None:
            name = "no-flip" if (name, value) == ("flip", "none") else name.replace("_", "-")
            raise UserError(
                f"--{name} goes with --model; with -c the config says it (-o changes a key)"
            )
