"""Outputs of networks as they come: one tensor, or a nest of tuples, lists and dicts of them."""

from collections.abc import Callable, Iterator
from typing import Any


def map_nest(function: Callable[[Any], Any], nest: Any) -> Any:
    """Return the same nest with `function` of every leaf."""
    if isinstance(nest, dict):
        return {name: map_nest(function, item) for name, item in nest.items()}
    if isinstance(nest, tuple) and hasattr(nest, "_fields"):  # a named tuple
        return type(nest)(*(map_nest(function, item) for item in nest))
    if isinstance(nest, list | tuple):
        return type(nest)(map_nest(function, item) for item in nest)
    return function(nest)


def named_leaves(nest: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield every leaf with a name that tells its place: `name`, `name.0`, `name.boxes`."""
    if isinstance(nest, dict):
        items = list(nest.items())
    elif isinstance(nest, list | tuple):
        items = list(zip(getattr(nest, "_fields", range(len(nest))), nest, strict=True))
    else:
        yield name, nest
        return
    for key, item in items:
        yield from named_leaves(item, f"{name}.{key}")
