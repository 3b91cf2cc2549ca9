"""YAML text <-> a tree of plain values, and the `-o Key.sub.0.key=value` overrides on it.

A tree holds dicts with text keys, lists, text, numbers, booleans and None; nothing in it is
shared, so the reader of a section may take it apart.
"""

import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from plsc.config.expanded import expand
from plsc.config.schema import parse_literal
from plsc.errors import UserError
from plsc.files.mapped_file import read_regular

Tree = dict[str, Any]

# YAML 1.1 wants a point in 5e-4; everybody else, PLSC's files included, writes it without.
_EXPONENT = re.compile(r"^[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$")
_NAMES = re.compile(r"\[(\s*[^\W\d][\w.]*(?:\s*,\s*[^\W\d][\w.]*)*\s*)\]")
MAX_DEPTH = 50
MOST_NODES = 100_000  # values of a config, those that aliases repeat among them
MOST_BYTES = 256 * 2**10  # of a config; they have a few thousand
MOST_BITS = 1000  # of a whole number: a float holds it, and it can be written
_WORDS: dict[str, bool | None] = {"": None, "null": None, "true": True, "false": False}


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 5e-4 as a number, dates as text, and refuses a key written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        written: set[str] = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag != "tag:yaml.org,2002:merge":
                if key_node.value in written:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key_node.value!r} is written twice", key_node.start_mark
                    )
                written.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes whatever text `_Loader` would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # Unquoted and in single quotes, a next-line character would come back as a space.
        style = None if data.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)

for _kind in (_Loader, _Dumper):
    _kind.yaml_implicit_resolvers = {
        first: [item for item in resolvers if item[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in _kind.yaml_implicit_resolvers.items()
    }
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def parse(text: str, source: str) -> Tree:
    """Return the tree in `text`; `source` names the text in messages.

    Raises:
        UserError: not YAML, not a mapping, a key twice, a value that is no plain data; the
            message gives the line where there is one.

    """
    try:
        value = _value_of(text, source)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}, line {mark.line + 1}" if mark else source
        problem = " ".join((error.problem or error.context or "not YAML").split())
        raise UserError(f"{where}: {problem}") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        character = f"U+{error.character:04X}" if isinstance(error.character, int) else "a byte"
        raise UserError(f"{source}, line {line}: {character} may not stand in YAML") from None
    except RecursionError:
        raise UserError(f"{source}: nested too deeply") from None
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # `!!int x`, `!!bool 1`, `!!timestamp now`, a whole number of 5000 digits
        reason = " ".join(str(error).split())
        what = reason if isinstance(error, ValueError) else "a value is not what its tag says"
        raise UserError(f"{source}: {what:.80}") from None
    if not isinstance(value, dict):
        raise UserError(f"{source}: the file must be a mapping of sections, got {_short(value)}")
    tree: Tree = _plain(value, source)
    return tree


def _value_of(text: str, source: str) -> Any:
    loader = _Loader(text)  # a SafeLoader: builds plain values only
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _num_nodes(node, {}) > MOST_NODES:
            raise UserError(f"{source}: its aliases (*name) repeat more than {MOST_NODES} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _num_nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of nodes with each alias written out, before any value is built.

    Building would be too late: a merge key (`<<`) copies the nodes that it names.

    Raises:
        RecursionError: a node holds itself, or they are nested too deeply.

    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 0  # as long as its parts are counted
        is_mapping = isinstance(node, yaml.MappingNode)
        items = itertools.chain.from_iterable(node.value) if is_mapping else node.value
        known[id(node)] = 1 + sum(_num_nodes(item, known) for item in items)
    elif not known[id(node)]:
        raise RecursionError
    return known[id(node)]


def read(path: Path) -> Tree:
    """Return the tree in the file at `path` (see `parse`); a UserError if it cannot be read."""
    path = Path(expand(str(path)))
    try:
        text = read_regular(path, "config", most_bytes=MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8 text") from None
    return parse(text, str(path))


def dump(tree: Tree) -> str:
    """Return `tree` as YAML text that `parse` reads back as the same tree."""
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def override(tree: Tree, assignments: Iterable[str]) -> Tree:
    """Return a copy of `tree` with each `Key.sub.0.key=value` carried out, in order.

    The first `=` splits; an integer part indexes a list; keys that are missing are created (the
    schema refuses them later if they are wrong); the value is a Python or YAML literal, else text.
    """
    tree = _plain(tree, "config")
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        parts = path.strip().split(".")
        if not equals or not all(parts):
            raise UserError(f"-o {assignment!r}: write it as Key.sub.key=value")
        _assign(tree, parts, _plain(_value(text.strip()), f"-o {path.strip()}"), assignment)
    return tree


def _value(text: str) -> Any:
    try:
        value = parse_literal(text)
    except RecursionError:
        return text
    if isinstance(value, str) and value == text:
        return _names(text) or _WORDS.get(text.lower(), text)
    return value


def _names(text: str) -> list[str] | None:
    """Return the names in `[one, two.three]`, which Python would want in quotes; else None."""
    found = _NAMES.fullmatch(text)
    return [name.strip() for name in found[1].split(",")] if found else None


def _assign(tree: Tree, parts: list[str], value: Any, assignment: str) -> None:
    node: Any = tree
    for depth, part in enumerate(parts):
        where = ".".join(parts[:depth])
        last = depth == len(parts) - 1
        if isinstance(node, list):
            if not (part.isascii() and part.isdigit()) or int(part) >= len(node):
                raise UserError(
                    f"-o {assignment!r}: {where} is a list of {len(node)}, "
                    f"its entries are 0 to {len(node) - 1}, got {part!r}"
                    if node
                    else f"-o {assignment!r}: {where} is an empty list; assign the whole list"
                )
            key: Any = int(part)
        elif isinstance(node, dict):
            key = part
        else:
            raise UserError(f"-o {assignment!r}: {where} is {_short(node)}, it holds no {part!r}")
        if last:
            node[key] = value
        else:
            # `GradScaler:` with nothing behind it is an empty section, not a scalar.
            if isinstance(node, dict) and node.get(key) is None:
                node[key] = {}
            node = node[key]


def _plain(value: Any, source: str, depth: int = 0) -> Any:
    """Return `value` without shared parts, tuples as lists; UserError for anything but data."""
    if type(value) is int and value.bit_length() > MOST_BITS:
        raise UserError(f"{source}: a whole number of {value.bit_length()} bits is too large")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if not isinstance(value, dict | list | tuple):
        raise UserError(f"{source}: {_short(value)} is not text, a number, a list or a mapping")
    if depth > MAX_DEPTH:  # also a list that holds itself
        raise UserError(f"{source}: nested too deeply")
    if not isinstance(value, dict):
        return [_plain(item, source, depth + 1) for item in value]
    for key in value:
        if not isinstance(key, str) or not key.isprintable():
            raise UserError(f"{source}: the key {key!r} must be text; put it in quotes")
    return {key: _plain(item, source, depth + 1) for key, item in value.items()}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
