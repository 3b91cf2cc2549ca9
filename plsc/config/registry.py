"""Name -> builder, one table per kind; a module that registers one is found by lying there.

Modules of users register too, see plugins; where a builder is from, its own module says.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from plsc.config.schema import nearest
from plsc.errors import UserError

Builder = TypeVar("Builder", bound=Callable[..., Any])


class UnknownPart(UserError):
    """No builder has the name that a config gives.

    Attributes:
        what: kind and name, for another message.

    """

    def __init__(self, message: str, what: str):
        super().__init__(message)
        self.what = what


class Registry:
    """Builders of one kind, found by their own names; a builder's signature is its schema."""

    def __init__(
        self, kind: str, packages: Iterable[str], modules: Mapping[str, str] | None = None
    ):
        """Make an empty table.

        Args:
            kind: what the builders make, for messages.
            packages: whose modules are all imported when a builder is looked up.
            modules: name -> the module that registers it, imported when that name is looked up.

        """
        self.kind = kind
        self._packages = tuple(packages)
        self._modules = dict(modules or {})
        self._builders: dict[str, Callable[..., Any]] = {}

    def register(self, builder: Builder) -> Builder:
        """Enter `builder` under its own name (a decorator).

        Raises:
            UserError: a plug-in's part has the name of another part.

        """
        name, module = builder.__name__, builder.__module__
        before = self._builders.get(name, builder)
        if before is not builder:
            self._refuse(name, plugin_of(before), plugin_of(builder))
        if self._modules.get(name, module) != module:
            self._refuse(name, None, plugin_of(builder))
        self._builders[name] = builder
        return builder

    def forget(self, module: str) -> None:
        """Take out the builders that `module` or a module below it defines."""
        for name, builder in list(self._builders.items()):
            if is_below(builder.__module__, module):
                del self._builders[name]

    def names(self) -> list[str]:
        """Return all names, sorted; import the modules that lie in the kind's packages."""
        self._import_modules()
        return sorted({*self._builders, *self._modules})

    def names_of(self, module: str) -> list[str]:
        """Return the names, sorted, that `module` and modules below it have registered so far."""
        found = self._builders.items()
        return sorted(name for name, item in found if is_below(item.__module__, module))

    def get(self, name: str, key: str) -> Callable[..., Any]:
        """Return the builder called `name`.

        Raises:
            UnknownPart: there is none; the message names `key` and the nearest name.
            UserError: a plug-in's part has the name of one of plsc's.

        """
        self._import_modules()
        if name in self._modules and name not in self._builders:
            importlib.import_module(self._modules[name])
            assert name in self._builders, f"{self._modules[name]} registers no {name}"
        if name not in self._builders:
            hint = nearest(name, {*self._builders, *self._modules})
            message = f"{key}: no {self.kind} is called {name!r}{hint}"
            raise UnknownPart(message, f"{self.kind} {name}")
        return self._builders[name]

    def _refuse(self, name: str, first: str | None, second: str | None) -> None:
        """Raise for a name that is registered twice; None stands for plsc itself."""
        assert first is not None or second is not None, f"{self.kind} {name} twice"
        if first == second:
            raise UserError(f"plug-in {first} registers two parts as {self.kind} {name}")
        one, other = (
            f"plug-in {module}" if module else "plsc itself" for module in (first, second)
        )
        raise UserError(
            f"{one} and {other} both have a {self.kind} called {name}: give the plug-in's another "
            "name"
        )

    def _import_modules(self) -> None:
        for package_name in self._packages:
            package = importlib.import_module(package_name)
            for module in pkgutil.iter_modules(package.__path__):
                if not module.ispkg:
                    importlib.import_module(f"{package_name}.{module.name}")


def is_below(module: str, above: str) -> bool:
    """Tell whether `module` is `above` or a module of that package."""
    return f"{module}.".startswith(f"{above}.")


def plugin_of(builder: Callable[..., Any]) -> str | None:
    """Return the module that defines `builder`; None for a part of plsc itself."""
    return None if is_below(builder.__module__, "plsc") else builder.__module__


BACKBONES = Registry("backbone", ["plsc.recognition.models"])
LOSSES = Registry("loss", ["plsc.recognition.losses"])
OPTIMIZERS = Registry("optimizer", ["plsc.optimizer"])
CLIPS = Registry("gradient clipping", ["plsc.optimizer"])
SCHEDULES = Registry("learning-rate schedule", ["plsc.scheduler"])
DETECTORS = Registry("detector", ["plsc.detection.models"])
DATASETS = Registry("dataset", ["plsc.recognition.datasets", "plsc.detection.datasets"])
TRANSFORMS = Registry("transform", ["plsc.data.transforms"])
METRICS = Registry("metric", ["plsc.recognition.metrics"])
TASKS = Registry(
    "task", [], {"recognition": "plsc.recognition.task", "detection": "plsc.detection.task"}
)
REGISTRIES = (
    BACKBONES,
    DETECTORS,
    LOSSES,
    OPTIMIZERS,
    CLIPS,
    SCHEDULES,
    DATASETS,
    TRANSFORMS,
    METRICS,
    TASKS,
)
