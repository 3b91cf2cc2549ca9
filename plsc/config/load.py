"""YAML file + overrides -> `Config`, each value checked before a device is touched."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from plsc.config import yaml_tree
from plsc.config.compatibility import drop_without_effect, refuse
from plsc.config.component import Component, components
from plsc.config.schema import check, check_params, nearest
from plsc.config.sections import (
    Config,
    DataLoaderConfig,
    DistributedConfig,
    EvalDataConfig,
    ExportConfig,
    Fp16Config,
    GlobalConfig,
    GradClipConfig,
    GradScalerConfig,
    LoaderConfig,
    LossConfig,
    LossTerm,
    MetricConfig,
    ModelConfig,
    OptimizerConfig,
    PfcConfig,
    RatioSchedule,
    RecomputeConfig,
    SamplerConfig,
    TrainDataConfig,
)
from plsc.config.yaml_tree import Tree
from plsc.errors import UserError

__all__ = ["Component", "Config", "dump_config", "load_config", "require"]

T = TypeVar("T")
Reader = Callable[[Any, str], Any]


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The config in the YAML file at `path` after `overrides` (`Key.sub.0.key=value`).

    Raises:
        UserError: one line that names the file and line, or the key, the value and the remedy.

    """
    return parse_config(yaml_tree.override(yaml_tree.read(Path(path)), overrides))


def dump_config(config: Config) -> str:
    """`config` with all its defaults as YAML text that `load_config` reads back as an equal one."""
    return yaml_tree.dump(config.to_dict())


def require(value: T | None, key: str, command: str) -> T:
    """`value`; a UserError where the config does not have the `key` that `command` needs."""
    if value is None:
        raise UserError(f"{key} is missing from the config: {command} needs it")
    return value


def parse_config(tree: Tree) -> Config:
    """Return the config in a tree of plain values (see yaml_tree), which this takes apart."""
    refuse(tree)
    notes = drop_without_effect(tree)
    readers: dict[str, Reader] = {
        "Global": lambda value, key: _section(GlobalConfig, value, key),
        "FP16": _fp16,
        "DistributedStrategy": _distributed,
        "Model": _model,
        "Loss": _loss,
        "LRScheduler": _component,
        "Optimizer": _optimizer,
        "DataLoader": _data_loader,
        "Metric": lambda value, key: _section(MetricConfig, value, key, Eval=components),
        "Export": lambda value, key: _section(ExportConfig, value, key),
    }
    assert set(readers) == {item.name for item in fields(Config)} - {"notes"}
    for name in tree:
        if name not in readers:
            raise UserError(f"{name}: unknown section{nearest(name, readers)}")
    read = {name: readers[name](value, name) for name, value in tree.items() if value is not None}
    return Config(**read, notes=tuple(notes))


def _mapping(value: Any, key: str) -> Tree:
    if not isinstance(value, dict):
        raise UserError(f"{key} must be a mapping, got {value!r}")
    return value


def _section(kind: Callable[..., T], value: Any, key: str, **nested: Reader) -> T:
    """`value` as the dataclass `kind`; `nested` reads the keys that hold sections themselves."""
    section = dict(_mapping(value, key))
    for name, read in nested.items():
        if section.get(name) is not None:
            section[name] = read(section[name], f"{key}.{name}")
        else:
            section.pop(name, None)
    return kind(**check_params(kind, section, key))


def _sub(kind: Callable[..., Any]) -> Reader:
    return lambda value, key: _section(kind, value, key)


def _component(value: Any, key: str) -> Component:
    section = dict(_mapping(value, key))
    if "name" not in section:
        raise UserError(f"{key}.name is missing")
    return Component(check(section.pop("name"), str, f"{key}.name"), section, key, ("name",))


def _with_params(kind: Callable[..., T], value: Any, key: str, **nested: Reader) -> T:
    """Like `_section`, with the keys that `kind` does not know as its `params`."""
    own = {item.name for item in fields(kind)} - {"params"}  # type: ignore[arg-type]
    section = _mapping(value, key)
    params = {name: item for name, item in section.items() if name not in own}
    known = {name: item for name, item in section.items() if name in own}
    return _section(kind, known | {"params": params}, key, **nested)


def _fp16(value: Any, key: str) -> Fp16Config:
    return _section(Fp16Config, value, key, GradScaler=_sub(GradScalerConfig))


def _distributed(value: Any, key: str) -> DistributedConfig:
    return _section(DistributedConfig, value, key, recompute=_sub(RecomputeConfig))


def _pfc(value: Any, key: str) -> PfcConfig:
    section = _mapping(value, key)
    if isinstance(section.get("sample_ratio"), list):
        # Here, since a message about either form could not say what is wrong with the list.
        check(section["sample_ratio"], RatioSchedule, f"{key}.sample_ratio")
    return _section(PfcConfig, section, key)


def _model(value: Any, key: str) -> ModelConfig:
    return _with_params(ModelConfig, value, key, pfc_config=_pfc)


def _loss(value: Any, key: str) -> LossConfig:
    def terms(value: Any, key: str) -> tuple[LossTerm, ...]:
        found = []
        for loss in components(value, key):
            params = dict(loss.params)
            weight = {"weight": params.pop("weight")} if "weight" in params else {}
            weight = check_params(LossTerm, weight, loss.key, supplied=["loss"])
            found.append(LossTerm(Component(loss.name, params, loss.key, ("weight",)), **weight))
        if not found:
            raise UserError(f"{key} is empty: name at least one loss")
        return tuple(found)

    return _section(LossConfig, value, key, Train=terms)


def _optimizer(value: Any, key: str) -> OptimizerConfig:
    section = dict(_mapping(value, key))
    if "epsilon" in section:
        if "eps" in section:
            raise UserError(f"{key}.epsilon and {key}.eps are the same setting; give one")
        section["eps"] = section.pop("epsilon")
    return _with_params(OptimizerConfig, section, key, grad_clip=_sub(GradClipConfig))


def _data_loader(value: Any, key: str) -> DataLoaderConfig:
    parts: dict[str, Reader] = {"sampler": _sub(SamplerConfig), "loader": _loader}

    def train(value: Any, key: str) -> TrainDataConfig:
        return _section(TrainDataConfig, value, key, dataset=_dataset, **parts)

    def evaluate(value: Any, key: str) -> EvalDataConfig:
        return _section(EvalDataConfig, value, key, dataset=_datasets, **parts)

    return _section(DataLoaderConfig, value, key, Train=train, Eval=evaluate)


def _loader(value: Any, key: str) -> LoaderConfig:
    section = dict(_mapping(value, key))
    known = Literal["default_collate_fn"] | None
    check(section.pop("collate_fn", None), known, f"{key}.collate_fn")
    return _section(LoaderConfig, section, key)


def _datasets(value: Any, key: str) -> tuple[Component, ...]:
    if not isinstance(value, list):
        return (_dataset(value, key),)
    if not value:
        raise UserError(f"{key} is empty: name at least one set")
    return tuple(_dataset(item, f"{key}.{number}") for number, item in enumerate(value))


def _dataset(value: Any, key: str) -> Component:
    section = dict(_mapping(value, key))
    for name in ("batch_transform", "batch_transform_ops"):
        if section.pop(name, None):
            raise UserError(f"{key}.{name}: not supported; transform each image in transform_ops")
    if "transform" in section:
        if "transform_ops" in section:
            raise UserError(f"{key}.transform and {key}.transform_ops are the same; give one")
        section["transform_ops"] = section.pop("transform")
    return _component(section, key)
