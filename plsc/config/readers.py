"""Readers of config sections: a tree of plain values -> a frozen dataclass, each key checked."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from plsc.config.component import Component, components
from plsc.config.schema import check, check_params
from plsc.config.sections import ExportConfig, MetricConfig
from plsc.config.yaml_tree import Tree
from plsc.errors import UserError

T = TypeVar("T")
Reader = Callable[[Any, str], Any]
"""(value, key) -> section."""


def mapping_of(value: Any, key: str) -> Tree:
    """Return `value`; a UserError unless it is a mapping."""
    if not isinstance(value, dict):
        raise UserError(f"{key} must be a mapping, got {value!r}")
    return value


def read_section(kind: Callable[..., T], value: Any, key: str, **nested: Reader) -> T:
    """Return `value` as the dataclass `kind`; `nested` reads keys that hold sections themselves."""
    section = dict(mapping_of(value, key))
    for name, read in nested.items():
        if section.get(name) is not None:
            section[name] = read(section[name], f"{key}.{name}")
        else:
            section.pop(name, None)
    return kind(**check_params(kind, section, key))


def section_reader(kind: Callable[..., Any], **nested: Reader) -> Reader:
    """Return `read_section` for one kind of section."""
    return lambda value, key: read_section(kind, value, key, **nested)


def component(value: Any, key: str) -> Component:
    """Return `{name: X, ...}` as a component."""
    section = dict(mapping_of(value, key))
    if "name" not in section:
        raise UserError(f"{key}.name is missing")
    return Component(check(section.pop("name"), str, f"{key}.name"), section, key, ("name",))


def section_with_params(kind: Callable[..., T], value: Any, key: str, **nested: Reader) -> T:
    """Return what `read_section` does, with the keys that `kind` does not know as its `params`."""
    own = {item.name for item in fields(kind)} - {"params"}  # type: ignore[arg-type]
    section = mapping_of(value, key)
    params = {name: item for name, item in section.items() if name not in own}
    known = {name: item for name, item in section.items() if name in own}
    return read_section(kind, known | {"params": params}, key, **nested)


SHARED_SECTIONS: dict[str, Reader] = {
    "Metric": section_reader(MetricConfig, Eval=components),
    "Export": section_reader(ExportConfig),
}
"""Sections of a task that need not be the task's own."""
