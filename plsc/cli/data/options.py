"""Options that several subcommands of `plsc-data` have."""

import argparse
from typing import Any

from plsc.data.sets.base import ImageSource
from plsc.data.sets.guess import LAYOUTS, open_source
from plsc.errors import UserError
from plsc.nn.environment import cores


def new_parser(
    subparsers: Any, name: str, *, help: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """A subcommand's parser; `description` and `examples` are shown as they are."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=help,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_source(parser: argparse.ArgumentParser) -> None:
    """SOURCE and what `open_source` has to know if it is a list."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help=".rec file or a folder with some; folder of identities' folders; list",
    )
    add_list_format(parser)


def add_list_format(parser: argparse.ArgumentParser) -> None:
    """What `open_source` has to know of a list."""
    parser.add_argument(
        "--image_root", help="of a list: the folder that its paths begin in (the list's own)"
    )
    parser.add_argument("--list_format", choices=LAYOUTS, help="of a list (told from its lines)")
    parser.add_argument("--delimiter", help="of a list in PLSC's format (told from its lines)")


def source_of(options: argparse.Namespace) -> ImageSource:
    """The source that these options name."""
    delimiter = options.delimiter
    return open_source(
        options.source,
        options.image_root,
        list_format=options.list_format,
        delimiter="\t" if delimiter == "\\t" else delimiter,  # shells leave \t as it is
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """`--workers`."""
    parser.add_argument(
        "--workers",
        type=int,
        default=cores(),
        metavar="N",
        help="processes (%(default)s, the cores available); the result is the same for all",
    )


def workers_of(options: argparse.Namespace) -> int:
    """What `--workers` says.

    Raises:
        UserError: less than 1.

    """
    if options.workers < 1:
        raise UserError(f"--workers must be at least 1, got {options.workers}")
    return int(options.workers)
