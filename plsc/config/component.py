"""`{name: X, ...}` and `{X: {...}}` in a config: a registered builder and its parameters."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plsc.config.registry import Registry, plugin_of
from plsc.config.schema import check, check_params, nearest, require_schema
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
        """The parameters as the builder's signature wants them.

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
            known = [name for name in inspect.signature(builder).parameters if name not in supplied]
            for name in self.params:
                if name not in known:
                    hint = nearest(name, [*known, *self.siblings])
                    raise UserError(f"{self.key}.{name}: unknown key{hint}")
            return check_params(builder, self.params, self.key, supplied=supplied)
        except UserError as error:
            raise UserError(f"{error}{self.origin(registry)}") from error

    def build(self, registry: Registry, **supplied: Any) -> Any:
        """What the builder makes of the checked parameters and of `supplied`."""
        params = self.check(registry, supplied=tuple(supplied))
        return registry.get(self.name, self.key)(**params, **supplied)

    def origin(self, registry: Registry) -> str:
        """Return " (X is defined by plug-in my_parts)" for messages; "" for a part of plsc."""
        plugin = plugin_of(registry.get(self.name, self.key))
        return f" ({self.name} is defined by plug-in {plugin})" if plugin else ""


def components(value: Any, key: str) -> tuple[Component, ...]:
    """The entries of a list such as `[{DecodeImage: {to_rgb: True}}, {ToCHWImage: null}]`.

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
