"""Traces that several tests look at."""

import functools

import pytest

from plsc.config.registry import BACKBONES
from plsc.recognition.plan.trace import trace


@pytest.fixture(scope="session")
def trace_of():
    """Name of a backbone -> its trace, made once: most of the time goes to initial weights."""

    @functools.cache
    def made(name):
        return trace(BACKBONES.get(name, "Model.name")())

    return made
