"""Peak of forward and backward, against sums by hand over traces made up."""

from dataclasses import replace

import pytest

from plsc.config.sections import RecomputeConfig
from plsc.distributed.recompute import recomputed_layers
from plsc.engine.activations import activation_memory
from plsc.engine.network_trace import LayerTrace, NetworkTrace

STEM = LayerTrace("stem", "Conv2D", 3, 10, largest=3, parameters=2, kept=12, kept_half=6)
FIRST = LayerTrace("blocks.0.a", "Conv2D", 10, 10, largest=10, parameters=3, kept=40, kept_half=20)
SECOND = LayerTrace("blocks.0.b", "PReLU", 10, 10, largest=10, kept=40, kept_half=40)
THIRD = LayerTrace("blocks.1", "Conv2D", 10, 10, largest=10, parameters=3, kept=40, kept_half=20)
LAST = LayerTrace("fc", "Linear", 10, 1, largest=10, parameters=500, kept=40, kept_half=20)
GROUPS = {"blocks.0": (40, 20), "blocks.1": (40, 20), "fc": (40, 20)}
TRACE = NetworkTrace((STEM, FIRST, SECOND, THIRD, LAST), GROUPS, {"blocks": 2}, 508, 0)


def test_everything_is_kept_until_backward():
    found = activation_memory(TRACE, batch=2, half=False)
    assert found.kept == 2 * (12 + 40 + 40 + 40 + 40)
    # At the last layer: all that is kept, its weights' gradient, twice its largest map.
    assert found.backward == 2 * (172 + 4 * 20) + 4 * 500


def test_the_peak_moves_to_where_it_is_highest():
    """Wide maps early on: their gradients, when nearly all weights' gradients are there."""
    wide = replace(STEM, numbers_in=1000, numbers_out=1000)
    found = activation_memory(replace(TRACE, layers=(wide, *TRACE.layers[1:])), batch=1, half=False)
    assert found.backward == 12 + 4 * 2000 + 4 * 508


def test_half_precision():
    found = activation_memory(TRACE, batch=1, half=True)
    assert found.kept == 6 + 20 + 40 + 20 + 20
    assert found.backward == 106 + 2 * 20 + 4 * 500


def test_recomputed_groups_keep_their_input():
    found = activation_memory(TRACE, batch=1, half=False, recompute=RecomputeConfig())
    assert found.kept == 12 + 40 + 40 + 40
    small = replace(TRACE, layers=(*TRACE.layers[:4], replace(LAST, parameters=0)))
    found = activation_memory(small, batch=1, half=False, recompute=RecomputeConfig())
    # while blocks.0 is redone: stem, its input, what it keeps, maps, gradients of 3 and 3 weights
    assert found.backward == 12 + 40 + 80 + 4 * 20 + 4 * 6


@pytest.mark.parametrize(
    ("interval", "names", "expected"),
    [
        (1, (), {"blocks.0", "blocks.1"}),
        (2, (), {"blocks.0"}),
        (2, ("fc", "blocks.0.a"), {"blocks.0", "fc"}),
        (2, ("blocks",), {"blocks.0", "blocks.1"}),
    ],
)
def test_which_layers_are_recomputed(interval, names, expected):
    assert set(recomputed_layers({"blocks": 2}, interval, names)) == expected
