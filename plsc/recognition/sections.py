"""The sections of a config that are face recognition's: Model, Loss, Metric, Export."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from plsc.config.component import Component, components
from plsc.config.readers import (
    SHARED_SECTIONS,
    Reader,
    mapping_of,
    read_section,
    section_reader,
    section_with_params,
)
from plsc.config.schema import FilePath, Range, check, check_params
from plsc.config.sections import Count, ExportConfig, only_onnx
from plsc.errors import UserError

Ratio = Annotated[float, Range(0, 1, low_open=True)]
RatioSchedule = tuple[tuple[Annotated[float, Range(0, 1, high_open=True)], Ratio], ...]


@dataclass(frozen=True)
class PfcConfig:
    """`Model.pfc_config`: the class centres, where they are kept, how many of them a step uses.

    `sample_ratio` is one ratio, or (fraction of training, the ratio from there on) pairs.
    `storage_dir` is the folder of the files of storage file, in the run's output folder if not
    given. Cosines of other classes above `interclass_filtering_threshold` do not count; 0 is off.
    """

    sample_ratio: Ratio | RatioSchedule = 1.0
    model_parallel: bool = True
    sparse_update: bool = True
    storage: Literal["device", "host", "file"] = "device"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    storage_dir: FilePath | None = None
    interclass_filtering_threshold: Annotated[float, Range(0, 1, high_open=True)] = 0.0

    def __post_init__(self) -> None:
        """Refuse a schedule out of order, and keys that contradict each other."""
        key = "Model.pfc_config"
        if isinstance(self.sample_ratio, tuple):
            starts = [start for start, _ in self.sample_ratio]
            if not starts or starts[0] != 0:
                given = f"it starts at {starts[0]}" if starts else "it is empty"
                raise UserError(f"{key}.sample_ratio must start with [0, ratio]: {given}")
            for before, after in zip(starts, starts[1:], strict=False):
                if after <= before:
                    message = f"{key}.sample_ratio: fractions must ascend, got {after} after"
                    raise UserError(f"{message} {before}")
        if self.storage_dir is not None and self.storage != "file":
            message = f"{key}.storage_dir is for storage=file, got storage={self.storage}: remove"
            raise UserError(f"{message} it, or set {key}.storage=file")
        if not self.sparse_update and self.storage != "device":
            message = f"{key}.sparse_update=False changes every class centre in every step: with"
            raise UserError(f"{message} storage={self.storage} set it to True")


@dataclass(frozen=True)
class ModelConfig:
    """`Model`: the backbone (`name` and its parameters) and the head over `class_num` classes."""

    name: str
    class_num: Count | None = None
    pfc_config: PfcConfig = PfcConfig()
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def backbone(self) -> Component:
        """The part that BACKBONES builds."""
        return Component(self.name, self.params, "Model", ("name", "class_num", "pfc_config"))


@dataclass(frozen=True)
class LossTerm:
    """One entry of `Loss.Train`; the training loss is the sum of weight · loss."""

    loss: Component
    weight: Annotated[float, Range(0)] = 1.0

    def as_written(self) -> dict[str, Any]:
        """Return the entry as a file holds it."""
        return {self.loss.name: {**self.loss.params, "weight": self.weight}}


@dataclass(frozen=True)
class LossConfig:
    """`Loss`."""

    Train: tuple[LossTerm, ...]


@dataclass(frozen=True)
class RecognitionExport(ExportConfig):
    """`Export`: the file that `plsc-export` writes; null in `input_shape` is any batch.

    With `preprocessing` nhwc or nchw an ONNX file takes uint8 RGB images in that layout and gives
    embeddings of length 1; `fp16` stores its weights as float16.
    """

    input_shape: tuple[int | None, Count, Count, Count] = (None, 3, 112, 112)
    preprocessing: Literal["none", "nhwc", "nchw"] = "none"

    def __post_init__(self) -> None:
        """Refuse another size of faces, and what only ONNX files can be."""
        super().__post_init__()
        if self.export_type != "onnx" and self.preprocessing != "none":
            raise only_onnx(f"preprocessing={self.preprocessing}")
        batch = self.input_shape[0]
        if batch is not None and batch < 1:
            raise UserError(f"Export.input_shape.0 must be null or at least 1, got {batch}")
        if self.input_shape[1:] != (3, 112, 112):
            given = list(self.input_shape[1:])
            raise UserError(f"Export.input_shape must be [null, 3, 112, 112], got {given} after it")


def _pfc(value: Any, key: str) -> PfcConfig:
    section = mapping_of(value, key)
    if isinstance(section.get("sample_ratio"), list):
        # Here, since a message about either form could not say what is wrong with the list.
        check(section["sample_ratio"], RatioSchedule, f"{key}.sample_ratio")
    return read_section(PfcConfig, section, key)


def _model(value: Any, key: str) -> ModelConfig:
    return section_with_params(ModelConfig, value, key, pfc_config=_pfc)


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

    return read_section(LossConfig, value, key, Train=terms)


SECTIONS: Mapping[str, Reader] = {
    **SHARED_SECTIONS,
    "Model": _model,
    "Loss": _loss,
    "Export": section_reader(RecognitionExport),
}
