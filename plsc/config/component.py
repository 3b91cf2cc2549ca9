"""`{name: X, ...}` and `{X: {...}}` in a config: a registered builder and its parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from plsc.config.registry import Registry, plugin_of
from plsc.config.schema import check, check_params, require_schema
from plsc.errors import UserError


@dataclass(frozen=True)
class Component:
    """A registered builder's name and its parameters, as the config gives them.

    Attributes:
        name: the builder's name in its registry.
        params: keyword arguments, unchecked until `check` or `build`; read-only by agreement.
        key: where the section stands, for messages.
        siblings: keys of the same section that are not the builder's; offered for a misspelt one.

    """

    name: str
    params: Mapping[str, Any]
    key: str = field(compare=False)
    siblings: tuple[str, ...] = field(default=(), compare=False)

    def check(self, registry: Registry, *, supplied: Sequence[str] = ()) -> dict[str, Any]:
        """Return the parameters as the builder's signature wants them.

        Args:
            registry: where the builder is looked up.
            supplied: parameters that the program passes itself and a config may not.

        Raises:
            UserError: unknown name or key (with the nearest known one), wrong type or range.

        """
        builder = registry.get(self.name, f"{self.key}.name" if self.siblings else self.key)
        try:
            if plugin_of(builder) is not None:
                require_schema(builder, self.key, supplied=supplied)
            return check_params(
                builder, self.params, self.key, supplied=supplied, siblings=self.siblings
            )
        except UserError as error:
            raise UserError(f"{error}{self.origin(registry)}") from error

    def build(self, registry: Registry, **supplied: Any) -> Any:
        """Return what the builder makes of the checked parameters and of `supplied`."""
        params = self.check(registry, supplied=tuple(supplied))
        return registry.get(self.name, self.key)(**params, **supplied)

    def origin(self, registry: Registry) -> str:
        """Return " (X is defined by plug-in my_parts)" for messages; "" for a part of plsc."""
        plugin = plugin_of(registry.get(self.name, self.key))
        return f" ({self.name} is defined by plug-in {plugin})" if plugin else ""


def components(value: Any, key: str) -> tuple[Component, ...]:
    """Return the entries of a list such as `[{DecodeImage: {to_rgb: True}}, {ToCHWImage: null}]`.

    Raises:
        UserError: `value` is no list, or an entry is not one name with its parameters.

    """
    found = []
    for index, item in enumerate(check(value, list, key)):
        entry = {item: None} if isinstance(item, str) else item
        if not isinstance(entry, dict) or len(entry) != 1:
            raise UserError(f"{key}.{index} must be one name with its parameters, got {item!r}")
        ((name, params),) = entry.items()
        where = f"{key}.{index}.{name}"
        if params is not None and not isinstance(params, dict):
            raise UserError(f"{where} must be a mapping, got {params!r}")
        found.append(Component(name, params or {}, where))
    return tuple(found)


def plain_tree(value: Any) -> Any:
    """Return a section, or what it holds, as the plain values that a YAML file has for it."""
    if isinstance(value, Component):
        return {"name": value.name, **plain_tree(value.params)}
    if hasattr(value, "as_written"):  # a section that a file holds in another form
        return plain_tree(value.as_written())
    if is_dataclass(value):
        section = {item.name: plain_tree(getattr(value, item.name)) for item in fields(value)}
        return section | section.pop("params", {})
    if isinstance(value, Mapping):
        return {key: plain_tree(item) for key, item in value.items()}
    if isinstance(value, tuple) and len(value) == 1 and _is_named(value[0]):
        return plain_tree(value[0])  # as a file has it that knows one verification set only
    if isinstance(value, list | tuple):
        return [
            {item.name: plain_tree(item.params)}
            if isinstance(item, Component) and not _is_named(item)
            else plain_tree(item)
            for item in value
        ]
    return value


def _is_named(value: Any) -> bool:
    """Tell whether it is a component of the form `{name: X, ...}`, not `{X: {...}}`."""
    return isinstance(value, Component) and "name" in value.siblings
