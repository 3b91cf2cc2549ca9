"""The command `plsc-data`: sets of face images, made, looked into and taken apart."""

import argparse
from collections.abc import Sequence

from plsc.cli.data import align, check, inspect_set, pack, pairs, show_records, unpack
from plsc.cli.options import new_parser
from plsc.cli.status import exit_status

COMMANDS = {  # in the order of --help
    "align": align,
    "pack": pack,
    "unpack": unpack,
    "records": show_records,
    "inspect": inspect_set,
    "check": check,
    "pairs": pairs,
}
DESCRIPTION = """Make, check and take apart sets of face images for plsc-train. Needs no mxnet.

A SOURCE is one of
  a .rec file, or a folder that holds some   MXNet RecordIO, in InsightFace's or im2rec's layout
  a folder with one folder of images per identity
  a list, or a folder with label.txt         lines: path<TAB>class; or MagFace's: path 0 class 0"""
EXAMPLES = """from one's own photographs to a set to train on:
  plsc-data align --landmarks landmarks.csv --output_dir people/
  plsc-data pack people/ sets/mine             writes train.rec, train.idx, property
  plsc-data check sets/mine                    is it fit to train on?
  plsc-data inspect sets/mine                  what is in it; the lines for the config

a public set (train.rec, train.idx, property, lfw.bin), which plsc-train reads as it is:
  plsc-data records faces/train.rec --limit 5
  plsc-data check faces/ --val faces/lfw.bin
  plsc-data unpack faces/ images/              its images as files, with label.txt

`plsc-data COMMAND --help` says what a command does, and shows it. Progress goes to standard error,
results to standard output. Exit status: 0 done, 1 `check` found the set not fit, 2 something is to
be mended (said in one line)."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands; each sets `run`."""
    parser = new_parser("plsc-data", description=DESCRIPTION, examples=EXAMPLES)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        texts = {"description": command.DESCRIPTION, "examples": command.EXAMPLES}
        subparser = new_parser(name, among=subparsers, help=command.HELP, **texts)
        command.add_options(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return exit_status("plsc-data", lambda: _run(build_parser().parse_args(argv)))


def _run(options: argparse.Namespace) -> int | None:
    status: int | None = options.run(options)
    return status
