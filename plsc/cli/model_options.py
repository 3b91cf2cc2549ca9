"""Options that the commands with a model have."""

import argparse
import sys

from plsc.cli.input_options import add_input_options
from plsc.errors import UserError
from plsc.recognition.embedder import Embedder


def new_parser(command: str, *, description: str, examples: str) -> argparse.ArgumentParser:
    """A command's parser; `description` and `examples` are shown as they are."""
    return argparse.ArgumentParser(
        prog=command,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """MODEL and, in a group of their own, what a model may not say of itself."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help=".onnx file, checkpoint folder, stem of a Paddle inference model, or .pth of an "
        "IResNet (MagFace, arcface_torch)",
    )
    add_input_options(parser)
    parser.add_argument(
        "--provider", default="cpu", help="cpu, cuda, or a provider of ONNX Runtime (%(default)s)"
    )


def embedder_of(options: argparse.Namespace, *, batch_size: int) -> Embedder:
    """The model that these options name; says on standard error what is assumed about it.

    Raises:
        UserError: it cannot be used.

    """
    for name in ("mean", "std"):
        value = getattr(options, name)
        if value is not None and len(value) not in (1, 3):
            raise UserError(f"--{name} takes one number or three, got {len(value)}")
    embedder = Embedder(
        options.model,
        provider=options.provider,
        batch_size=batch_size,
        mean=options.mean,
        std=options.std,
        colour_order=options.colour_order,
        size=options.size,
        plugins=options.plugins or (),
    )
    for note in embedder.info.assumptions:
        print(f"{options.model}: {note}", file=sys.stderr, flush=True)
    return embedder
