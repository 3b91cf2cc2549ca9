"""A detector learns the same on two ranks as on one, also where one rank has next to no faces."""

from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("detection_run.py")


@pytest.fixture(scope="module")
def found(module_worlds):
    """What each rank found, by the number of ranks."""
    results = {}
    for size in (1, 2):
        world = module_worlds()
        out = world.folder / "out"
        world.run(size, SCRIPT, out)
        results[size] = [dict(np.load(f"{out}.{rank}.npz")) for rank in range(size)]
    return results


def test_loss_and_gradients_of_given_predictions(found):
    (one,), ranks = found[1], found[2]
    for name in ("bbox", "score", "landmark"):
        key = f"gradient/{name}"
        together = np.concatenate([rank[key] for rank in ranks])
        np.testing.assert_allclose(together, one[key], rtol=1e-5, atol=1e-8)
    for rank in ranks:
        np.testing.assert_allclose(rank["loss"], one["loss"], rtol=1e-6)


def test_whole_steps(found):
    """With BatchNorm as in inference: each rank's own statistics would differ."""
    (one,), ranks = found[1], found[2]
    for rank in ranks:
        np.testing.assert_allclose(rank["losses"], one["losses"], rtol=1e-5)
        for name in (name for name in one if name.startswith("weight/")):
            np.testing.assert_allclose(rank[name], one[name], rtol=1e-4, atol=1e-6)
