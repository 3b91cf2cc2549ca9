"""The sections of a config as frozen dataclasses; `plsc.config.load` reads them from a file.

Sections and keys are PLSC's, under PLSC's spelling, so that a key, an override and an attribute
(`config.Global.epochs`) are one name. `{name: X, ...}` sections become `Component`s: their other
keys are checked against the signature of the builder registered as X.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal

from plsc.config.component import Component
from plsc.config.schema import Range
from plsc.errors import UserError

Count = Annotated[int, Range(1)]
Positive = Annotated[float, Range(0, low_open=True)]
Ratio = Annotated[float, Range(0, 1, low_open=True)]
RatioSchedule = tuple[tuple[Annotated[float, Range(0, 1, high_open=True)], Ratio], ...]
Unit = Literal["epoch", "step"]
MEAN = "mean"  # of all verification sets, where one of them could be named


@dataclass(frozen=True)
class GlobalConfig:
    """`Global`: what is run, where, how often it is saved and evaluated.

    `rank_timeout` is in seconds: a rank that gives no sign of life for longer counts as hung.
    """

    checkpoint: str | None = None
    pretrained_model: str | None = None
    finetune: bool = False
    freeze_backbone: bool = False
    head_init: Literal["normal", "class_means"] = "normal"
    output_dir: str = "./output/"
    device: Literal["cpu", "gpu"] = "gpu"
    epochs: Count | None = None
    max_train_step: Count | None = None
    accum_steps: Count = 1
    seed: Annotated[int, Range(0)] = 0
    save_interval: Count = 1
    save_unit: Unit = "epoch"
    max_num_latest_checkpoint: int = 0
    eval_during_train: bool = False
    eval_interval: Count = 1
    eval_unit: Unit = "epoch"
    print_batch_step: Count = 10
    use_visualdl: bool = False
    rank_timeout: Positive = 20.0


@dataclass(frozen=True)
class GradScalerConfig:
    """`FP16.GradScaler`: dynamic loss scaling for float16."""

    init_loss_scaling: Positive = 27648.0
    max_loss_scaling: Positive = 2.0**32
    incr_ratio: Annotated[float, Range(1)] = 2.0
    decr_ratio: Annotated[float, Range(0, 1, low_open=True)] = 0.5
    incr_every_n_steps: Count = 1000
    decr_every_n_nan_or_inf: Count = 2
    use_dynamic_loss_scaling: bool = True


@dataclass(frozen=True)
class Fp16Config:
    """`FP16`: automatic mixed precision. The section's absence means float32."""

    level: Literal["O0", "O1"] = "O1"
    dtype: Literal["float16", "bfloat16"] = "float16"
    fp16_custom_white_list: tuple[str, ...] | None = None
    fp16_custom_black_list: tuple[str, ...] | None = None
    GradScaler: GradScalerConfig = GradScalerConfig()


@dataclass(frozen=True)
class RecomputeConfig:
    """`DistributedStrategy.recompute`: every n-th layer of each LayerList, and layers by name."""

    layerlist_interval: Count = 1
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class DistributedConfig:
    """`DistributedStrategy`: what the processes share."""

    data_parallel: bool = True
    recompute: RecomputeConfig | None = None


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
    storage_dir: str | None = None
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


@dataclass(frozen=True)
class LossConfig:
    """`Loss`."""

    Train: tuple[LossTerm, ...]


@dataclass(frozen=True)
class GradClipConfig:
    """`Optimizer.grad_clip`: clipping by global norm, see plsc/optimizer/clip.py."""

    clip_norm: Positive
    name: Literal["ClipGradByGlobalNorm"] = "ClipGradByGlobalNorm"
    clip_norm_max: Positive | None = None
    always_clip: bool = False
    no_clip_list: tuple[str, ...] = ()


@dataclass(frozen=True)
class OptimizerConfig:
    """`Optimizer`: the update rule (`name` and its parameters) and what surrounds it."""

    name: str
    grad_clip: GradClipConfig | None = None
    head_lr_multiplier: Annotated[float, Range(0)] = 1.0
    no_weight_decay_name: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def rule(self) -> Component:
        """The part that OPTIMIZERS builds."""
        siblings = ("name", "grad_clip", "head_lr_multiplier", "no_weight_decay_name")
        return Component(self.name, self.params, "Optimizer", siblings)


@dataclass(frozen=True)
class SamplerConfig:
    """`DataLoader.*.sampler`; `batch_size` counts the images of one rank."""

    batch_size: Count
    name: Literal["DistributedBatchSampler", "BatchSampler"] = "DistributedBatchSampler"
    drop_last: bool = False
    shuffle: bool = False


@dataclass(frozen=True)
class LoaderConfig:
    """`DataLoader.*.loader`: the processes that read and decode images."""

    num_workers: Annotated[int, Range(0)] = 0


@dataclass(frozen=True)
class TrainDataConfig:
    """`DataLoader.Train`."""

    dataset: Component
    sampler: SamplerConfig
    loader: LoaderConfig = LoaderConfig()


@dataclass(frozen=True)
class EvalDataConfig:
    """`DataLoader.Eval`; `dataset` is one verification set or a list of them."""

    dataset: tuple[Component, ...]
    sampler: SamplerConfig
    loader: LoaderConfig = LoaderConfig()


@dataclass(frozen=True)
class DataLoaderConfig:
    """`DataLoader`."""

    Train: TrainDataConfig | None = None
    Eval: EvalDataConfig | None = None


@dataclass(frozen=True)
class MetricConfig:
    """`Metric`; `best_set` chooses `best_model`: a verification set by its name, or their mean."""

    Eval: tuple[Component, ...] = ()
    best_set: str = MEAN


@dataclass(frozen=True)
class ExportConfig:
    """`Export`: the file that `plsc-export` writes; null in `input_shape` is the batch.

    With `preprocessing` nhwc or nchw an ONNX file takes uint8 RGB images in that layout and gives
    embeddings of length 1; `fp16` stores its weights as float16.
    """

    export_type: Literal["onnx", "paddle"] = "onnx"
    input_shape: tuple[int | None, Count, Count, Count] = (None, 3, 112, 112)
    opset: Annotated[int, Range(11, 17)] = 17
    preprocessing: Literal["none", "nhwc", "nchw"] = "none"
    fp16: bool = False

    def __post_init__(self) -> None:
        """Refuse a fixed batch size, and what only ONNX files can be."""
        if self.export_type != "onnx" and (self.fp16 or self.preprocessing != "none"):
            setting = f"preprocessing={self.preprocessing}" if not self.fp16 else "fp16=True"
            raise UserError(f"Export.{setting} is for ONNX files only: set Export.export_type=onnx")
        if self.input_shape[0] is not None:
            batch = self.input_shape[0]
            raise UserError(f"Export.input_shape.0 must be null (any batch size), got {batch}")
        if self.input_shape[1:] != (3, 112, 112):
            given = list(self.input_shape[1:])
            raise UserError(f"Export.input_shape must be [null, 3, 112, 112], got {given} after it")


@dataclass(frozen=True)
class Config:
    """A whole config; a section that the file does not have is None (`require` it).

    `notes` has one line for each key that was accepted and has no effect.
    """

    Global: GlobalConfig = GlobalConfig()
    FP16: Fp16Config | None = None
    DistributedStrategy: DistributedConfig = DistributedConfig()
    Model: ModelConfig | None = None
    Loss: LossConfig | None = None
    LRScheduler: Component | None = None
    Optimizer: OptimizerConfig | None = None
    DataLoader: DataLoaderConfig = DataLoaderConfig()
    Metric: MetricConfig = MetricConfig()
    Export: ExportConfig = ExportConfig()
    notes: tuple[str, ...] = field(default=(), compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The resolved config, defaults included, as the plain tree that a YAML file holds."""
        return {
            item.name: _plain(getattr(self, item.name))
            for item in fields(self)
            if item.name != "notes" and getattr(self, item.name) is not None
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Component):
        return {"name": value.name, **_plain(value.params)}
    if isinstance(value, LossTerm):
        return {value.loss.name: {**_plain(value.loss.params), "weight": value.weight}}
    if is_dataclass(value):
        section = {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
        return section | section.pop("params", {})
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and len(value) == 1 and _is_named(value[0]):
        return _plain(value[0])  # as a file has it that knows one verification set only
    if isinstance(value, list | tuple):
        return [
            {item.name: _plain(item.params)}
            if isinstance(item, Component) and not _is_named(item)
            else _plain(item)
            for item in value
        ]
    return value


def _is_named(value: Any) -> bool:
    """Whether it is a component of the form `{name: X, ...}`, not `{X: {...}}`."""
    return isinstance(value, Component) and "name" in value.siblings
