"""YAML file + overrides -> `Config`, each value checked before a device is touched."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from plsc.config import yaml_tree
from plsc.config.compatibility import drop_without_effect, refuse
from plsc.config.component import Component
from plsc.config.plugins import import_plugins
from plsc.config.readers import (
    Reader,
    component,
    mapping_of,
    read_section,
    section_reader,
    section_with_params,
)
from plsc.config.registry import TASKS
from plsc.config.schema import check, nearest
from plsc.config.sections import (
    Config,
    DataLoaderConfig,
    DistributedConfig,
    EvalDataConfig,
    Fp16Config,
    GlobalConfig,
    GradScalerConfig,
    LoaderConfig,
    OptimizerConfig,
    RecomputeConfig,
    SamplerConfig,
    TrainDataConfig,
    TrainLoaderConfig,
)
from plsc.config.yaml_tree import Tree
from plsc.errors import UserError

__all__ = ["Component", "Config", "dump_config", "load_config", "require"]

T = TypeVar("T")


def load_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    importer: Callable[[Sequence[str]], list[str]] = import_plugins,
) -> Config:
    """Return the config in the YAML file at `path` after `overrides` (`Key.sub.0.key=value`).

    Args:
        path: of the file.
        overrides: each changes one key.
        importer: imports what `Global.plugins` names, since parts are found by what is registered;
            returns notes.

    Raises:
        UserError: one line that names the file and line, or the key, the value and the remedy.

    """
    tree = yaml_tree.override(yaml_tree.read(Path(path)), overrides)
    settings = tree.get("Global")
    given = settings.get("plugins") if isinstance(settings, dict) else None
    notes = importer(check(given, tuple[str, ...], "Global.plugins")) if given is not None else []
    config = parse_config(tree)
    return replace(config, notes=(*notes, *config.notes))


def load_global(path: str | Path, overrides: Sequence[str] = ()) -> tuple[GlobalConfig, str]:
    """Return `Global` and `Model.name`; nothing that a plug-in may define is looked at.

    Raises:
        UserError: as `load_config`.

    """
    tree = yaml_tree.override(yaml_tree.read(Path(path)), overrides)
    refuse(tree)
    drop_without_effect(tree)
    settings = read_section(GlobalConfig, tree.get("Global") or {}, "Global")
    model = mapping_of(require(tree.get("Model"), "Model", "plsc"), "Model")
    return settings, component(model, "Model").name


def dump_config(config: Config) -> str:
    """Return `config` with all its defaults as YAML text, which `load_config` reads back."""
    return yaml_tree.dump(config.to_dict())


def require(value: T | None, key: str, command: str) -> T:
    """Return `value`; a UserError where the config does not have the `key` that `command` needs."""
    if value is None:
        raise UserError(f"{key} is missing from the config: {command} needs it")
    return value


def parse_config(tree: Tree) -> Config:
    """Return the config in a tree of plain values (see yaml_tree), which this takes apart."""
    refuse(tree)
    notes = drop_without_effect(tree)
    task = TASKS.get(_task_type(tree), "Global.task_type")()
    readers = {**READERS, **task.sections}
    own = {item.name for item in fields(Config)} - {"notes", *READERS}
    if set(task.sections) != own:
        raise UserError(
            f"Global.task_type: {type(task).__name__}.sections must have {', '.join(sorted(own))}, "
            "each with its reader, and nothing else"
        )
    for name in tree:
        if name not in readers:
            raise UserError(f"{name}: unknown section{nearest(name, readers)}")
    given: Tree = {"Metric": {}, "Export": {}}  # sections that a file may leave out
    given |= {name: value for name, value in tree.items() if value is not None}
    read = {name: readers[name](value, name) for name, value in given.items()}
    return Config(**read, notes=tuple(notes))


def _task_type(tree: Tree) -> str:
    settings = tree.get("Global")
    given = settings.get("task_type") if isinstance(settings, dict) else None
    return GlobalConfig.task_type if given is None else check(given, str, "Global.task_type")


def _optimizer(value: Any, key: str) -> OptimizerConfig:
    section = dict(mapping_of(value, key))
    if "epsilon" in section:
        if "eps" in section:
            raise UserError(f"{key}.epsilon and {key}.eps are the same setting; give one")
        section["eps"] = section.pop("epsilon")
    return section_with_params(OptimizerConfig, section, key, grad_clip=_grad_clip)


def _grad_clip(value: Any, key: str) -> Component:
    return component({"name": "ClipGradByGlobalNorm", **mapping_of(value, key)}, key)


def _datasets(value: Any, key: str) -> tuple[Component, ...]:
    if not isinstance(value, list):
        return (_dataset(value, key),)
    if not value:
        raise UserError(f"{key} is empty: name at least one set")
    return tuple(_dataset(item, f"{key}.{number}") for number, item in enumerate(value))


def _dataset(value: Any, key: str) -> Component:
    section = dict(mapping_of(value, key))
    for name in ("batch_transform", "batch_transform_ops"):
        if section.pop(name, None):
            raise UserError(f"{key}.{name}: not supported; transform each image in transform_ops")
    if "transform" in section:
        if "transform_ops" in section:
            raise UserError(f"{key}.transform and {key}.transform_ops are the same; give one")
        section["transform_ops"] = section.pop("transform")
    return component(section, key)


def _loader_reader(kind: type[LoaderConfig]) -> Reader:
    def read(value: Any, key: str) -> LoaderConfig:
        section = dict(mapping_of(value, key))
        known = Literal["default_collate_fn"] | None
        check(section.pop("collate_fn", None), known, f"{key}.collate_fn")
        return read_section(kind, section, key)

    return read


def _data_reader(kind: type, dataset: Reader, loader: type[LoaderConfig]) -> Reader:
    return section_reader(
        kind, dataset=dataset, sampler=section_reader(SamplerConfig), loader=_loader_reader(loader)
    )


READERS: dict[str, Reader] = {
    "Global": section_reader(GlobalConfig),
    "FP16": section_reader(Fp16Config, GradScaler=section_reader(GradScalerConfig)),
    "DistributedStrategy": section_reader(
        DistributedConfig, recompute=section_reader(RecomputeConfig)
    ),
    "LRScheduler": component,
    "Optimizer": _optimizer,
    "DataLoader": section_reader(
        DataLoaderConfig,
        Train=_data_reader(TrainDataConfig, _dataset, TrainLoaderConfig),
        Eval=_data_reader(EvalDataConfig, _datasets, LoaderConfig),
    ),
}
"""Readers of the sections that all tasks share; a task has those of its own."""
