"""Name -> builder, one table per kind; a module that registers one is found by lying there."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from plsc.config.schema import nearest
from plsc.errors import UserError

Builder = TypeVar("Builder", bound=Callable[..., Any])


class Registry:
    """Builders of one kind, found by their own names; a builder's signature is its schema."""

    def __init__(
        self, kind: str, packages: Iterable[str] = (), *, modules: Mapping[str, str] | None = None
    ):
        """Make a table.

        Args:
            kind: of its builders, for messages.
            packages: whose modules register builders; all are imported when a name is looked up.
            modules: builder's name -> the module that registers it, imported on demand.

        """
        self.kind = kind
        self._packages, self._modules = tuple(packages), dict(modules or {})
        self._builders: dict[str, Callable[..., Any]] = {}

    def register(self, builder: Builder) -> Builder:
        """Enter `builder` under its own name (a decorator)."""
        assert builder.__name__ not in self._builders, f"{self.kind} {builder.__name__} twice"
        self._builders[builder.__name__] = builder
        return builder

    def names(self) -> list[str]:
        """All names, sorted; imports the modules that lie in the kind's packages."""
        self._import_modules()
        return sorted({*self._builders, *self._modules})

    def get(self, name: str, key: str) -> Callable[..., Any]:
        """The builder called `name`.

        Raises:
            UserError: there is none; the message names `key` and the nearest name.

        """
        self._import_modules()
        if name in self._modules:
            importlib.import_module(self._modules[name])
        if name not in self._builders:
            hint = nearest(name, self.names())
            raise UserError(f"{key}: no {self.kind} is called {name!r}{hint}")
        return self._builders[name]

    def _import_modules(self) -> None:
        for package_name in self._packages:
            package = importlib.import_module(package_name)
            for module in pkgutil.iter_modules(package.__path__):
                if not module.ispkg:
                    importlib.import_module(f"{package_name}.{module.name}")


BACKBONES = Registry("backbone", ["plsc.recognition.models"])
LOSSES = Registry("loss", ["plsc.recognition.losses"])
OPTIMIZERS = Registry("optimizer", ["plsc.optimizer"])
SCHEDULES = Registry("learning-rate schedule", ["plsc.scheduler"])
DATASETS = Registry("dataset", ["plsc.recognition.datasets"])
TRANSFORMS = Registry("transform", ["plsc.data.transforms"])
METRICS = Registry("metric", ["plsc.recognition.metrics"])
TASKS = Registry("task", modules={"recognition": "plsc.recognition.task"})
