"""The sections of a config that are face detection's: Model and Loss."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from plsc.config.component import Component
from plsc.config.readers import SHARED_SECTIONS, Reader, section_reader, section_with_params
from plsc.config.schema import Range

Weight = Annotated[float, Range(0)]


@dataclass(frozen=True)
class ModelConfig:
    """`Model`: the detector (`name` and its parameters).

    `body_weights` is a file of weights that the body alone begins with, as of ImageNet, where
    neither Global.pretrained_model nor Global.checkpoint is given.
    """

    name: str
    body_weights: str | None = None
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def detector(self) -> Component:
        """The part that DETECTORS builds."""
        return Component(self.name, self.params, "Model", ("name", "body_weights"))


@dataclass(frozen=True)
class LossConfig:
    """`Loss`: MindFace's keys.

    `loc_weight`, `class_weight` and `landm_weight` say how much boxes, scores and landmarks count;
    an anchor learns a face with which it shares `match_thresh` of their union; `neg_pre_positive`
    anchors without a face count for each with one.
    """

    name: Literal["MultiBoxLoss"] = "MultiBoxLoss"
    loc_weight: Weight = 2.0
    class_weight: Weight = 1.0
    landm_weight: Weight = 1.0
    match_thresh: Annotated[float, Range(0, 1, low_open=True)] = 0.35
    neg_pre_positive: Annotated[int, Range(1)] = 7


def _model(value: Any, key: str) -> ModelConfig:
    return section_with_params(ModelConfig, value, key)


SECTIONS: Mapping[str, Reader] = {
    **SHARED_SECTIONS,
    "Model": _model,
    "Loss": section_reader(LossConfig),
}
