"""The options that several commands have, each said once. Importing this loads nothing heavy.

A command picks from `SHARED` by name, and says with it what is different for this command: another
default or another help. All spellings of an option are taken by each command that has it.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from plsc.errors import UserError
from plsc.nn.environment import cores

if TYPE_CHECKING:
    from plsc.data.sets.base import ImageSource
    from plsc.recognition.embedder import Embedder

COUNT: dict[str, Any] = {"type": int, "metavar": "N"}
NUMBERS: dict[str, Any] = {"type": float, "nargs": "+"}
FILES: dict[str, Any] = {"nargs": "+", "action": "extend"}
# Name in the parsed options -> what argparse is told; the spellings follow from the name.
SHARED: Mapping[str, Mapping[str, Any]] = {
    # the model's input
    "mean": {**NUMBERS, "metavar": "M", "help": "pixels' mean, 0 to 255: one, or one per colour"},
    "std": {**NUMBERS, "metavar": "S", "help": "divisor of (pixel - mean): one, or one per colour"},
    "colour_order": {"choices": ["RGB", "BGR"], "help": "colour order of the model's input"},
    "size": {"type": int, "help": "side of the model's input in pixels"},
    "output_name": {
        "metavar": "NAME",
        "help": "which output of an ONNX file is the embedding, where several could be",
    },
    "plugins": {
        "action": "append",
        "metavar": "MODULE",
        "help": "a module of your own that registers the backbone of a checkpoint; repeatable",
    },
    # sets of images
    "bin": {**FILES, "metavar": "F", "help": ".bin files, or folders with label.txt"},
    "pairs": {
        **FILES,
        "metavar": "LIST",
        "help": "lists of lines path<TAB>path<TAB>0 or 1, or LFW's pairs.txt",
    },
    "image_root": {
        "metavar": "ROOT",
        "help": "the folder that a list's paths begin at (the list's own)",
    },
    "list_format": {"help": "how the lines of a list are written (told from its first lines)"},
    "delimiter": {"help": "what separates path and class in PLSC's lists (told from their lines)"},
    # work and results
    "provider": {"default": "cpu", "help": "cpu, cuda, or ONNX Runtime's name (%(default)s)"},
    "batch_size": {**COUNT, "default": 64, "help": "images at once (%(default)s)"},
    "num_workers": {
        **COUNT,
        "help": "processes that read images (%(default)s, the cores available)",
    },
    "resize": {"action": "store_true", "help": "bring images of other sizes to the model's"},
    "on_bad": {"choices": ["error", "skip"], "default": "error"},
    "overwrite": {"action": "store_true", "help": "replace an output of something else"},
    "quality": {"type": int, "default": 95, "metavar": "Q", "help": "JPEG quality (%(default)s)"},
    "seed": COUNT,
    "sheet": {"metavar": "PNG"},
    "json": {"action": "store_true", "help": "report as one JSON object"},
}
MORE_SPELLINGS = {"num_workers": ["--workers"], "output_name": ["--output"]}
PREPARATION = ("mean", "std", "colour_order", "size")  # what a model may not say of its input
OF_MODEL = (*PREPARATION, "output_name")


class OptionHolder(Protocol):
    """A parser, or a group of its options."""

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        """Add an option."""
        ...


def new_parser(
    name: str, *, description: str, examples: str | None = None, among: Any = None, **settings: Any
) -> argparse.ArgumentParser:
    """Return a command's parser; `description` and `examples` are shown as they are.

    Args:
        name: of the command.
        description: shown before the options.
        examples: shown after the options.
        among: subparsers; then the parser is that of a subcommand.
        settings: more for the parser.

    """
    settings |= {
        "description": description,
        "epilog": examples,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
    if among is None:
        return argparse.ArgumentParser(prog=name, **settings)
    parser: argparse.ArgumentParser = among.add_parser(name, **settings)
    return parser


def spellings(name: str) -> list[str]:
    """Return how an option may be written: `--on-bad` and `--on_bad`."""
    either = dict.fromkeys(f"--{text}" for text in (name.replace("_", "-"), name))
    return [*either, *MORE_SPELLINGS.get(name, [])]


def add_shared(parser: OptionHolder, name: str, **different: Any) -> None:
    """Add the option `name` of `SHARED`; `different` is what it has otherwise here."""
    parser.add_argument(*spellings(name), dest=name, **{**SHARED[name], **different})


def add_input_options(parser: argparse.ArgumentParser, title: str = "the model's input") -> None:
    """Add what a model may not say of its input, in a group of their own."""
    group = parser.add_argument_group(title, "needed where the model does not say")
    for name in (*OF_MODEL, "plugins"):
        add_shared(group, name)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add MODEL, its provider and, in a group of their own, what it may not say of its input."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help=".onnx file, checkpoint folder, stem of a Paddle inference model, or .pth of an "
        "IResNet (MagFace, arcface_torch)",
    )
    add_input_options(parser)
    add_shared(parser, "provider")


def add_flip(
    parser: OptionHolder, *, default: str | None, help: str, takes_value: bool = True
) -> None:
    """Add `--flip none|sum` and `--no-flip`, both as `flip`.

    Args:
        parser: the command's.
        default: none, sum, or None where the command decides.
        help: of `--flip`.
        takes_value: `--flip` is followed by a word; else it means sum by itself.

    """
    kind: dict[str, Any] = {"action": "store_const", "const": "sum"}
    if takes_value:
        kind = {"choices": ["none", "sum"]}
    parser.add_argument("--flip", default=default, help=help, **kind)
    parser.add_argument(
        *spellings("no_flip"),
        dest="flip",
        action="store_const",
        const="none",
        default=argparse.SUPPRESS,  # that of --flip
        help="leave the mirrored images out",
    )


def add_workers(parser: OptionHolder, **different: Any) -> None:
    """Add `--num-workers`; the default is the number of cores available."""
    add_shared(parser, "num_workers", **{"default": cores(), **different})


def add_data_workers(parser: OptionHolder) -> None:
    """Add `--num-workers` of a command that gives the same result for any number."""
    text = "processes (%(default)s, the cores available); the result is the same for all"
    add_workers(parser, help=text)


def add_work(parser: argparse.ArgumentParser, *, bad: str) -> None:
    """Add how images are read and embedded; an image that cannot be used gives `bad`."""
    add_shared(parser, "batch_size")
    add_workers(parser)
    add_shared(parser, "resize")
    text = f"an image that cannot be used ends the run, or gives {bad} (%(default)s)"
    add_shared(parser, "on_bad", help=text)
    add_shared(parser, "overwrite")
    add_shared(parser, "json")


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add SOURCE and what `source_of` has to know if it is a list."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help=".rec file or a folder with some; folder of identities' folders; list",
    )
    add_list_format(parser)


def add_list_format(parser: argparse.ArgumentParser) -> None:
    """Add what `source_of` has to know of a list."""
    from plsc.data.sets.list_form import LAYOUTS

    add_shared(parser, "image_root")
    add_shared(parser, "list_format", choices=LAYOUTS)
    add_shared(parser, "delimiter")


def source_of(options: argparse.Namespace) -> "ImageSource":
    """Return the source that these options name."""
    from plsc.data.sets.open import open_source

    source = open_source(options.source, **list_options(options))
    if source.left_out:
        print(f"{options.source}: {source.left_out}", file=sys.stderr, flush=True)
    return source


def list_options(options: argparse.Namespace) -> dict[str, str | None]:
    """Return what these options say of a list, by the names that `open_source` has for it."""
    return {name: getattr(options, name) for name in ("image_root", "list_format", "delimiter")}


def embedder_of(options: argparse.Namespace, *, batch_size: int) -> "Embedder":
    """Return the model that these options name; say on standard error what is assumed about it.

    Raises:
        UserError: it cannot be used.

    """
    from plsc.recognition.embedder import Embedder

    for name in ("mean", "std"):
        value = getattr(options, name)
        if value is not None and len(value) not in (1, 3):
            raise UserError(f"--{name} takes one number or three, got {len(value)}")
    given = {name: getattr(options, name) for name in (*OF_MODEL, "provider")}
    plugins = options.plugins or ()
    embedder = Embedder(options.model, batch_size=batch_size, plugins=plugins, **given)
    for note in embedder.info.assumptions:
        print(f"{options.model}: {note}", file=sys.stderr, flush=True)
    return embedder


def check_work(options: argparse.Namespace) -> None:
    """Check the numbers among these options; None is for the command to choose.

    Raises:
        UserError: one is too small.

    """
    for name, least in (("batch_size", 1), ("num_workers", 0)):
        if (value := getattr(options, name)) is not None and value < least:
            raise UserError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")


def workers_of(options: argparse.Namespace) -> int:
    """Return `--num-workers` of a command that cannot do without.

    Raises:
        UserError: less than 1.

    """
    if options.num_workers < 1:
        raise UserError(f"--num-workers must be at least 1, got {options.num_workers}")
    return int(options.num_workers)
