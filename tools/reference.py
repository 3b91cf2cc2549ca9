"""Write docs/reference/config.md and commands.md from the code: keys, types, defaults, options.

    python tools/reference.py            write both pages
    python tools/reference.py --check    exit status 1 if a page is not what the code says

A key's sentence comes from the `Args:` of its class, or from tools/reference_sentences.yaml. A key
without a sentence, and a sentence without a key, are errors.
"""

import argparse
import importlib
import re
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reference_config import NOTE, SENTENCES, Sentences, cell, config_page, table

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "reference"
SUBCOMMANDS = {"plsc-quality": ["evr"]}  # those that are no subparsers


class Captured(Exception):
    """Carries the parser of a command out of its `main`."""


def parser_of(main: Callable[..., Any], arguments: list[str]) -> argparse.ArgumentParser:
    """Return the parser that `main` builds, without running the command."""

    def stop(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise Captured(parser)

    original = argparse.ArgumentParser.parse_known_args
    argparse.ArgumentParser.parse_known_args = stop  # type: ignore[assignment, method-assign]
    try:
        main(arguments)
    except Captured as captured:
        return typing.cast(argparse.ArgumentParser, captured.args[0])
    finally:
        argparse.ArgumentParser.parse_known_args = original  # type: ignore[method-assign]
    raise AssertionError("the command did not parse its arguments")


def option_rows(parser: argparse.ArgumentParser) -> Iterator[list[str]]:
    """Yield option, value and help of each argument but `--help`."""
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        names = ", ".join(f"`{name}`" for name in action.option_strings)
        value = action.metavar or (action.choices and " ".join(map(str, action.choices))) or ""
        if not action.option_strings:
            names, value = f"`{action.metavar or action.dest}`", ""
        elif action.nargs != 0 and not value:
            value = action.dest.upper()
        value = " ".join(value) if isinstance(value, tuple) else str(value)
        text = (action.help or "") % {**vars(action), "prog": parser.prog}
        yield [names, f"`{cell(value)}`" if value else "", cell(text)]


def command_lines(name: str, parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    """Yield the section of a command, and those of its subcommands."""
    yield from (f"{'#' * level} {name}", "")
    yield from ((parser.description or "").split("\n\n")[0].strip(), "")
    yield from table("option | value | meaning", option_rows(parser))
    if parser.epilog:
        yield from ("```text", parser.epilog.rstrip(), "```", "")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subname, subparser in action.choices.items():
                yield from command_lines(f"{name} {subname}", subparser, level + 1)


def commands_page() -> str:
    """Return the page of all commands."""
    lines = ["# Commands", "", NOTE, "", "Every command also has `--help`.", ""]
    scripts = re.findall(r'"(plsc-\w+) = ([\w.]+):main"', (ROOT / "setup.py").read_text("utf-8"))
    for name, module in scripts:
        main = importlib.import_module(module).main
        lines += command_lines(name, parser_of(main, []), 2)
        for subcommand in SUBCOMMANDS.get(name, []):
            lines += command_lines(f"{name} {subcommand}", parser_of(main, [subcommand]), 2)
    return "\n".join(lines).rstrip() + "\n"


def pages() -> dict[Path, str]:
    """Return the text of each page.

    Raises:
        SystemExit: a key has no sentence, or a sentence has no key.

    """
    sentences = Sentences()
    texts = {PAGES / "config.md": config_page(sentences), PAGES / "commands.md": commands_page()}
    unused = set(sentences.texts) - sentences.used
    if sentences.missing or unused:
        sys.exit(f"{SENTENCES.name}: missing {sentences.missing}, without a key {sorted(unused)}")
    return texts


def main() -> int:
    """Write or check the pages; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args()
    status = 0
    for path, text in pages().items():
        if not options.check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{path.relative_to(ROOT)} is not current: run python tools/reference.py")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
