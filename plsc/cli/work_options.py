"""Options of the commands that run a model over a set of images."""

import argparse

from plsc.errors import UserError
from plsc.nn.environment import cores
from plsc.recognition.embedder import Embedder


def add_work(parser: argparse.ArgumentParser, *, bad: str) -> None:
    """How the images are read and embedded; what an image that cannot be used gives is `bad`."""
    add = parser.add_argument
    add("--batch-size", "--batch_size", type=int, default=64, help="images at once (%(default)s)")
    add(
        "--num-workers",
        "--num_workers",
        type=int,
        default=cores(),
        help="processes that read images (%(default)s, the cores available)",
    )
    add("--resize", action="store_true", help="bring images of other sizes to the model's")
    add(
        "--on-bad",
        "--on_bad",
        choices=["error", "skip"],
        default="error",
        help=f"an image that cannot be used ends the run, or gives {bad} (%(default)s)",
    )
    add("--overwrite", action="store_true", help="replace an output of something else")
    add("--json", action="store_true", help="report as one JSON object")


def check_work(options: argparse.Namespace) -> None:
    """Check the numbers among these options.

    Raises:
        UserError: one is too small.

    """
    for name, least in (("batch_size", 1), ("num_workers", 0)):
        if (value := getattr(options, name)) < least:
            raise UserError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")


def whole_batches(batch_size: int, embedder: Embedder) -> int:
    """`batch_size` or the next larger number that a network with a fixed batch size likes."""
    fixed = embedder.info.batch or 1
    return -(-batch_size // fixed) * fixed
