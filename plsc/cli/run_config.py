"""Run a command that has a config: options that name it, ranks, and exit statuses.

Paddle is imported after the config has been read.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from plsc import __version__
from plsc.cli.options import new_parser
from plsc.config.load import load_config, load_global, require
from plsc.config.plugins import import_plugins
from plsc.config.sections import Config
from plsc.distributed import world
from plsc.nn import environment as runtime
from plsc.supervise import SUPERVISED, Heartbeat, supervise


def config_parser(
    command: str,
    *,
    description: str,
    examples: str,
    usage: str | None = None,
    config_required: bool = True,
) -> argparse.ArgumentParser:
    """Return the parser of `plsc-<command>` with `-c`, `-o` and `--version`."""
    parser = new_parser(f"plsc-{command}", description=description, examples=examples, usage=usage)
    parser.add_argument(
        "-c", "--config", required=config_required, metavar="CONFIG.yaml", help="the config"
    )
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="Key.sub.0.key=value",
        help="change one key of the config; repeatable; numbers in the path index lists",
    )
    parser.add_argument("--version", action="version", version=f"plsc {__version__}")
    return parser


def run_config(
    command: str,
    options: argparse.Namespace,
    argv: Sequence[str] | None,
    work: Callable[[Config, Heartbeat], None],
) -> int:
    """Do `work` with the config that `options` name, and return the exit status.

    A rank that the launcher started becomes the supervisor of a process that is called as this one
    was and does the work.

    Args:
        command: `train`, `eval` or `export`.
        options: from `config_parser`.
        argv: the arguments that `options` were read from; None for those of this process.
        work: is called when paddle has been imported.

    Raises:
        UserError: a mistake in the config, or what `work` refuses.

    """
    place = world.current()
    if place.size > 1 and SUPERVISED not in os.environ:
        settings, name = load_global(options.config, options.override)
        if not settings.plugins:  # else it is the process that imports them that checks the rest
            load_config(options.config, options.override)
        arguments = sys.argv[1:] if argv is None else argv
        return supervise(
            [sys.executable, *_this_command(command), *arguments],
            folder=Path(settings.output_dir) / name / ".run" / world.launch_id(),
            rank=place.rank,
            size=place.size,
            host=place.host,
            heartbeat_timeout=settings.rank_timeout,
            hint=world.INTERFACE_HINT,
        )
    config = load_config(options.config, options.override, importer=_import_plugins)
    runtime.prepare(local_size=place.local_size)
    runtime.import_paddle()
    with Heartbeat() as heartbeat:
        work(config, heartbeat)
    return 0


def output_folder(config: Config) -> Path:
    """Return `<output_dir>/<Model.name>`, where a run keeps everything."""
    return Path(config.Global.output_dir) / require(config.Model, "Model", "plsc").name


def _import_plugins(modules: Sequence[str]) -> list[str]:
    """Import plug-ins, and before them paddle, which most of them import."""
    if modules:
        runtime.prepare(local_size=world.current().local_size)
        runtime.import_paddle()
    return import_plugins(modules)


def _this_command(command: str) -> list[str]:
    """Return how this process was called; the script, so that the same plsc is imported again."""
    script = Path(sys.argv[0])
    return ["-m", "plsc", command] if script.name == "__main__.py" else [str(script)]
