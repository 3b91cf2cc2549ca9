"""Traces that several tests look at."""

import functools

import pytest

from plsc.config.registry import BACKBONES
from plsc.recognition.plan.backbone import trace_backbone


@pytest.fixture(scope="session")
def trace_of():
    """Name of a backbone -> its trace, made once: most of the time goes to initial weights."""

    @functools.cache
    def made(name):
        return trace_backbone(BACKBONES.get(name, "Model.name")())

    return made
