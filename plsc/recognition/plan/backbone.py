"""Build the backbone of a config for its trace alone, and trace it."""

from dataclasses import replace

import paddle
from paddle import nn

from plsc.config.load import require
from plsc.config.registry import BACKBONES
from plsc.config.sections import Config
from plsc.data.transforms.align import FACE_SHAPE
from plsc.engine.network_trace import NetworkTrace, trace_network


def trace_backbone(backbone: nn.Layer) -> NetworkTrace:
    """Return the trace of `backbone` on one image.

    Raises:
        UserError: it cannot be traced.

    """
    return trace_network(backbone, [paddle.zeros([1, *FACE_SHAPE])])


def build_for_trace(config: Config) -> nn.Layer:
    """Return the config's backbone, with NCHW maps: every CPU computes them, and keeps as much.

    Raises:
        UserError: the config has no Model, or it is wrong.

    """
    model = require(config.Model, "Model", "a plan")
    model.backbone.check(BACKBONES)
    component = model.backbone
    if "data_format" in component.params:
        component = replace(component, params={**component.params, "data_format": "NCHW"})
    return component.build(BACKBONES)
