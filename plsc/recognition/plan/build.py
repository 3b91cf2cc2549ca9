"""Config -> trace of its backbone, built for that alone."""

from dataclasses import replace

from plsc.config.load import require
from plsc.config.registry import BACKBONES
from plsc.config.sections import Config
from plsc.recognition.plan.trace import Trace, trace


def traced(config: Config) -> Trace:
    """The trace of the config's backbone; NCHW, which every CPU computes and which keeps the same.

    Raises:
        UserError: the config has no Model, or it is wrong.

    """
    model = require(config.Model, "Model", "a plan")
    model.backbone.check(BACKBONES)
    component = model.backbone
    if "data_format" in component.params:
        component = replace(component, params={**component.params, "data_format": "NCHW"})
    return trace(component.build(BACKBONES))
