"""Traces that several tests look at, and the tool's part of a plan."""

import functools
import importlib

import pytest
from places import ROOT

from plsc.config.registry import BACKBONES
from plsc.recognition.plan.forecast import trace_backbone


@pytest.fixture(scope="session")
def trace_of():
    """Name of a backbone -> its trace, made once: most of the time goes to initial weights."""

    @functools.cache
    def made(name):
        return trace_backbone(BACKBONES.get(name, "Model.name")())

    return made


@pytest.fixture
def plan_sizes(monkeypatch):
    """tools/benchmark/plan_sizes.py."""
    monkeypatch.syspath_prepend(ROOT / "tools" / "benchmark")
    return importlib.import_module("plan_sizes")
