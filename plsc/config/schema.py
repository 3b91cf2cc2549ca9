"""Annotations as a schema: a builder's signature says which keys a config section may hold.

`check` takes one value and one annotation; `check_params` takes a section and a builder. Both
accept numbers as PLSC's YAML files write them (`5e-4`, `1.0/255.0`, `(0.9, 0.999)`), parsed as
data: nothing here evaluates text.
"""

import ast
import difflib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from plsc.config.expanded import UnknownName, expand
from plsc.errors import UserError

LONGEST_LITERAL = 10_000  # characters
NUMBER_OPERATORS = (ast.Div, ast.Mult, ast.Pow)  # 1.0/255.0, 2*64, 2**32


@dataclass(frozen=True)
class Range:
    """Bounds for `Annotated[int, Range(1)]`; an open end excludes the bound itself."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = self.low is None or value > self.low or (value == self.low and not self.low_open)
        below = (
            self.high is None or value < self.high or (value == self.high and not self.high_open)
        )
        return above and below

    def __str__(self) -> str:
        parts = []
        if self.low is not None:
            parts.append(f"{'above' if self.low_open else 'at least'} {self.low}")
        if self.high is not None:
            parts.append(f"{'below' if self.high_open else 'at most'} {self.high}")
        return " and ".join(parts)


class PathText:
    """Marks text that is a path: `~` and environment variables in it are expanded."""


FilePath = Annotated[str, PathText()]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?", or the list of what there is."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


def parse_literal(text: str) -> Any:
    """Return a Python literal, or a product, quotient or power of numbers; else `text` itself."""
    if len(text) > LONGEST_LITERAL:
        return text
    try:
        return _literal(ast.parse(text.strip(), mode="eval").body)
    except (ArithmeticError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
        return text


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, NUMBER_OPERATORS):
        left, right = _literal(node.left), _literal(node.right)
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise ValueError("not a number")
        if isinstance(node.op, ast.Div):
            return left / right
        if isinstance(node.op, ast.Mult):
            return left * right
        if float(abs(left)) ** right > sys.float_info.max:  # 9**9**9 would never end
            raise OverflowError
        return left**right
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item) for item in node.elts)
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    return ast.literal_eval(node)


def described(annotation: Any) -> str:
    """Return in words what a value of `annotation` may be."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        inner, *constraints = typing.get_args(annotation)
        bounds = " and ".join(str(item) for item in constraints if isinstance(item, Range))
        return f"{described(inner)} {bounds}".strip()
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(item) for item in typing.get_args(annotation))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(described(item) for item in typing.get_args(annotation))
    names = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
    names |= {type(None): "null", list: "a list", tuple: "a list", dict: "a mapping"}
    return names.get(origin or annotation, getattr(annotation, "__name__", str(annotation)))


def _wrong(value: Any, annotation: Any, key: str) -> UserError:
    return UserError(f"{key} must be {described(annotation)}, got {value!r}")


def check(value: Any, annotation: Any, key: str) -> Any:
    """Return `value` as `annotation` asks for it.

    Raises:
        UserError: the type or the range is wrong; the message names `key`, the value and what
            would be right.

    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any or annotation is inspect.Parameter.empty:
        return value
    if origin is typing.Annotated:
        checked = check(value, arguments[0], key)
        items = checked if isinstance(checked, list | tuple) else [checked]
        numbers = [item for item in items if item is not None]
        for constraint in arguments[1:]:
            if isinstance(constraint, PathText):
                return expand(checked, key)
            if isinstance(constraint, Range) and any(item not in constraint for item in numbers):
                raise _wrong(value, annotation, key)
        return checked
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            try:
                return check(value, option, key)
            except UnknownName:
                raise
            except UserError:
                continue
        raise _wrong(value, annotation, key)
    if origin is typing.Literal:
        if value not in arguments:
            hint = nearest(str(value), map(str, arguments)) if isinstance(value, str) else ""
            raise UserError(f"{key} must be {described(annotation)}, got {value!r}{hint}")
        return value
    return _check_plain(value, annotation, key)


def _check_plain(value: Any, annotation: Any, key: str) -> Any:
    kind = typing.get_origin(annotation) or annotation
    arguments = typing.get_args(annotation)
    if isinstance(value, str) and kind in (int, float, list, tuple):
        value = parse_literal(value)
    if kind is type(None) and value in (None, "None"):
        return None
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind in (list, tuple) and isinstance(value, list | tuple):
        if arguments and kind is tuple and Ellipsis not in arguments:
            if len(value) != len(arguments):
                raise UserError(f"{key} must hold {len(arguments)} values, got {value!r}")
            item_types = arguments
        else:
            item_types = (arguments[0] if arguments else Any,) * len(value)
        items = [
            check(item, item_type, f"{key}.{index}")
            for index, (item, item_type) in enumerate(zip(value, item_types, strict=True))
        ]
        return kind(items)
    if kind is int and isinstance(value, bool):
        raise _wrong(value, annotation, key)
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    raise _wrong(value, annotation, key)


def check_params(
    builder: Callable[..., Any],
    params: Mapping[str, Any],
    key: str,
    *,
    supplied: Iterable[str] = (),
    siblings: Iterable[str] = (),
) -> dict[str, Any]:
    """Return the parameters of `builder`, checked against its signature.

    Args:
        builder: a function or class whose parameters are annotated.
        params: a config section without its `name`.
        key: where the section stands, for messages.
        supplied: parameters that the program passes itself and a config may not.
        siblings: keys beside the section's that are not the builder's, offered for a misspelt one.

    Raises:
        UserError: unknown key (with the nearest known one), missing key, wrong type or range.

    """
    signature, hints = inspect.signature(builder), _hints(builder)
    known = {name: item for name, item in signature.parameters.items() if name not in set(supplied)}
    for name in params:
        if name not in known:
            raise UserError(f"{key}.{name}: unknown key{nearest(name, [*known, *siblings])}")
    for name, item in known.items():
        if name not in params and item.default is inspect.Parameter.empty:
            raise UserError(f"{key}.{name} is missing")
    return {
        name: check(value, hints.get(name, Any), f"{key}.{name}") for name, value in params.items()
    }


def require_schema(builder: Callable[..., Any], key: str, *, supplied: Iterable[str] = ()) -> None:
    """Check that `builder` says of each of its parameters what it may be.

    Raises:
        UserError: a parameter has no name or no annotation, or an annotation cannot be read.

    """
    try:
        hints = _hints(builder)
    except (NameError, TypeError, AttributeError) as error:
        raise UserError(
            f"{key}: annotations of {builder.__name__} cannot be read: {error}"
        ) from error
    for name, item in inspect.signature(builder).parameters.items():
        if item.kind in (item.VAR_POSITIONAL, item.VAR_KEYWORD):
            raise UserError(
                f"{key}: {builder.__name__} takes {item}, where no mistake in a config would be "
                "found: name its parameters"
            )
        if name not in hints and name not in set(supplied):
            raise UserError(
                f"{key}: parameter {name} of {builder.__name__} has no annotation, by which a "
                f"config is checked: write such as {name}: int"
            )


def _hints(builder: Callable[..., Any]) -> dict[str, Any]:
    function = builder.__init__ if inspect.isclass(builder) else builder
    return typing.get_type_hints(function, include_extras=True)
