"""Whole training steps against the reference implementations' losses, norms and final weights."""

import json
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("golden_run.py")


def trained(worlds, golden, name, **environment):
    case_file = golden / f"{name}.json"
    case = json.loads(case_file.read_text())
    threads = "2" if case["ranks"] == 1 else "1"
    out = worlds.folder / "out"
    worlds.run(case["ranks"], SCRIPT, case_file, out, PLSC_NUM_THREADS=threads, **environment)
    outs = [worlds.folder / f"out.{rank}" for rank in range(case["ranks"])]
    return case, [json.loads(out.read_text()) for out in outs]


def check_trajectory(case, found):
    for expected, step in zip(case["trajectory"], found["trajectory"], strict=True):
        assert abs(step["loss"] - expected["loss"]) < 0.005, expected
        assert step["backbone_grad_norm"] == pytest.approx(
            expected["backbone_grad_norm"], rel=0.02
        ), expected
        assert step["lr"] == pytest.approx(expected["lr"], rel=1e-9)


@pytest.mark.parametrize(
    "name", ["iresnet18_cosface_trajectory", "iresnet18_cosface_trajectory_2ranks"]
)
def test_cosface_on_real_faces_trains_like_arcface_torch(worlds, golden, real_faces, name):
    case, (found, *others) = trained(worlds, golden, name)
    check_trajectory(case, found)
    for other in others:
        assert other["trajectory"] == found["trajectory"]


@pytest.mark.parametrize(
    "stock",
    ["0", pytest.param("1", marks=pytest.mark.slow)],
    ids=["tensor by tensor", "one vector"],
)
def test_arcface_without_clipping_on_two_ranks(worlds, golden, stock):
    """No clipping and strong decay: a gradient off by a factor, or a decay left out, shows."""
    case, (first, second) = trained(
        worlds, golden, "iresnet18_arcface_trajectory_2ranks_noclip", PLSC_STOCK_CPU=stock
    )
    check_trajectory(case, first)
    assert first["conv1"] == second["conv1"]
    np.testing.assert_allclose(
        first["features_bias"][:8], case["final_features_bias_first_8"], rtol=0, atol=1e-6
    )
    assert set(first["features_weight"]) == {1.0}
    rows = np.concatenate([first["head"], second["head"]])[[0, 29], :8]
    np.testing.assert_allclose(rows, case["final_head_rows_0_and_29_first_8"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        first["conv1"][:9], case["final_conv1_weight_first_9"], rtol=0, atol=2e-5
    )
