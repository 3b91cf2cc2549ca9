"""What tests of the engine share."""

import pytest


@pytest.fixture(params=["0", "1"], ids=["tensor by tensor", "one vector"])
def arrangement(request, monkeypatch):
    """Both ways to hold the parameters that are updated: a CPU's, then a GPU's."""
    monkeypatch.setenv("PLSC_STOCK_CPU", request.param)
