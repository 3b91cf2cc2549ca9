"""The sections that all tasks share, as frozen dataclasses; see `plsc.config.load`.

Sections and keys are PLSC's, under PLSC's spelling, so that a key, an override and an attribute
(`config.Global.epochs`) are one name. `{name: X, ...}` sections become `Component`s: their other
keys are checked against the signature of the builder registered as X.
"""

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from plsc.config.component import Component, plain_tree
from plsc.config.schema import FilePath, Range
from plsc.errors import UserError

Count = Annotated[int, Range(1)]
Positive = Annotated[float, Range(0, low_open=True)]
Unit = Literal["epoch", "step"]
MEAN = "mean"  # of all verification sets, where one of them could be named
AUTO = "auto"  # Global.checkpoint: what the run's folder has


@dataclass(frozen=True)
class GlobalConfig:
    """`Global`: what is run, where, how often it is saved and evaluated.

    `task_type` names the task, whose own sections are Model, Loss, Metric and Export.
    `rank_timeout` is in seconds: a rank that gives no sign of life for longer counts as hung.
    `checkpoint` is resumed; `auto`: the run in this `output_dir`, if there is one.
    `plugins` are the user's modules that register parts, imported before parts are looked up.
    """

    task_type: str = "recognition"
    checkpoint: FilePath | None = None
    pretrained_model: FilePath | None = None
    finetune: bool = False
    freeze_backbone: bool = False
    head_init: Literal["normal", "class_means"] = "normal"
    output_dir: FilePath = "./output/"
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
    plugins: tuple[str, ...] = ()


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
class OptimizerConfig:
    """`Optimizer`: the update rule (`name` and its parameters) and what surrounds it."""

    name: str
    grad_clip: Component | None = None
    head_lr_multiplier: Annotated[float, Range(0)] = 1.0
    no_weight_decay_name: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def rule(self) -> Component:
        """Return the part that OPTIMIZERS builds."""
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
class TrainLoaderConfig(LoaderConfig):
    """`DataLoader.Train.loader`; `device_prefetch` sends images a step ahead, None: on a GPU."""

    device_prefetch: bool | None = None


@dataclass(frozen=True)
class TrainDataConfig:
    """`DataLoader.Train`."""

    dataset: Component
    sampler: SamplerConfig
    loader: TrainLoaderConfig = TrainLoaderConfig()


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

    @property
    def datasets(self) -> tuple[Component, ...]:
        """Return the training set, if there is one, and then those to evaluate."""
        train = (self.Train.dataset,) if self.Train else ()
        return train + (self.Eval.dataset if self.Eval else ())


@dataclass(frozen=True)
class MetricConfig:
    """`Metric`; `best_set` chooses `best_model`: a verification set by its name, or their mean."""

    Eval: tuple[Component, ...] = ()
    best_set: str = MEAN


@dataclass(frozen=True)
class ExportConfig:
    """`Export`: what every task has of it; `fp16` stores the weights as float16."""

    export_type: Literal["onnx", "paddle"] = "onnx"
    opset: Annotated[int, Range(11, 17)] = 17
    fp16: bool = False

    def __post_init__(self) -> None:
        """Refuse what only ONNX files can be."""
        if self.export_type != "onnx" and self.fp16:
            raise only_onnx("fp16=True")


def only_onnx(setting: str) -> UserError:
    """Return the error for a setting of Export that Paddle's format does not have."""
    return UserError(f"Export.{setting} is for ONNX files only: set Export.export_type=onnx")


@dataclass(frozen=True)
class Config:
    """A whole config; a section that the file does not have is None (`require` it).

    The types of Model, Loss, Metric and Export are the task's. Model has a `name`; Metric has
    `best_set`, and Export `export_type`, `opset` and `fp16`. `notes` has one line for each plug-in,
    and for each key that was accepted and has no effect.
    """

    Global: GlobalConfig = GlobalConfig()
    FP16: Fp16Config | None = None
    DistributedStrategy: DistributedConfig = DistributedConfig()
    Model: Any = None
    Loss: Any = None
    LRScheduler: Component | None = None
    Optimizer: OptimizerConfig | None = None
    DataLoader: DataLoaderConfig = DataLoaderConfig()
    Metric: Any = MetricConfig()
    Export: Any = ExportConfig()
    notes: tuple[str, ...] = field(default=(), compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the config, defaults included, as the plain tree that a YAML file holds."""
        return {
            item.name: plain_tree(getattr(self, item.name))
            for item in fields(self)
            if item.name != "notes" and getattr(self, item.name) is not None
        }
