"""A task's contract on two ranks: what a nest of outputs, a lone NaN and a lone output do."""

import json
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("contract_run.py")


@pytest.fixture(scope="module")
def found(module_worlds):
    """(arrays, the rest) of every rank, by the number of ranks."""
    results = {}
    for size in (1, 2):
        world = module_worlds()
        out = world.folder / "out"
        world.run(size, SCRIPT, out)
        results[size] = [
            (dict(np.load(f"{out}.{rank}.npz")), json.loads(Path(f"{out}.{rank}.json").read_text()))
            for rank in range(size)
        ]
    return results


@pytest.mark.parametrize("case", ["all", "few", "parts"])
def test_two_ranks_equal_one(found, case):
    """`few`: only rank 1's loss uses the second output; `parts`: only in its last part.

    Without the factor of the ranks on every output the weights would be others; with an output
    that backward skips on one rank, ranks would wait for each other or go different ways.
    """
    ((expected, rest),) = found[1]
    for arrays, other in found[2]:
        np.testing.assert_allclose(other["losses"][case], rest["losses"][case], rtol=1e-5)
        for name in (name for name in expected if name.startswith(f"{case}/")):
            np.testing.assert_allclose(arrays[name], expected[name], rtol=1e-5, atol=1e-7)


def test_both_ranks_end_with_the_same_line(found):
    first, second = (rest["spoilt"] for _, rest in found[2])
    assert first == second
    assert first.startswith("step 1: the loss is nan; rank 1 on ")
    assert "images (1 of 12 values are nan or inf)" in first
