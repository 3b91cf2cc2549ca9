"""What a training step exchanges: counted on 2 and 3 ranks, it is what the formula says."""

import json
from pathlib import Path

import paddle
import pytest

from plsc.distributed import collectives
from plsc.recognition.plan.head import step_traffic

SCRIPT = Path(__file__).with_name("traffic_run.py")
STEP = {"classes": 100, "batch": 12, "dim": 16, "parts": 1, "ratio": 1.0, "losses": 1}
STEP |= {"storage": "device"}
CASES = [
    STEP,
    {**STEP, "classes": 100_000},
    {**STEP, "ratio": 0.1},
    {**STEP, "classes": 100_000, "ratio": 0.1},
    {**STEP, "storage": "file", "ratio": 0.1},
    {**STEP, "parts": 3, "ratio": 0.5},
    {**STEP, "losses": 2, "batch": 4, "dim": 32},
]


@pytest.mark.parametrize("size", [2, 3])
def test_bytes_are_those_of_the_formula(worlds, size):
    worlds.run(size, SCRIPT, json.dumps(CASES), worlds.folder / "out")
    ranks = [json.loads((worlds.folder / f"out.{rank}.json").read_text()) for rank in range(size)]
    assert all(rank == ranks[0] for rank in ranks)
    for case, (calls, num_bytes) in zip(CASES, ranks[0], strict=True):
        parts, losses = case["parts"], case["losses"]
        expected = step_traffic(
            samples=size * case["batch"] // parts,
            parts=parts,
            dim=case["dim"],
            parameters=0,
            ranks=size,
            losses=losses,
        )
        assert num_bytes == {
            "all_gather": expected.features,
            "all_reduce": expected.labels + expected.reductions + expected.feature_gradients,
        }
        assert sum(num_bytes.values()) == expected.total
        # features; labels, largest logits and sums, gradients of features, the norm
        assert calls == {"all_gather": parts, "all_reduce": parts * (2 * losses + 1) + 2}
    found = [rank[1] for rank in ranks[0]]
    assert all(each == found[0] for each in found[:5])  # whatever the classes and the rows


def test_one_rank_exchanges_nothing():
    tensor = paddle.ones([3, 2])
    with collectives.count_traffic() as counted:
        collectives.gather(collectives.reduce_sum(tensor))
    assert not counted.calls and not counted.bytes
    assert step_traffic(samples=12, parts=1, dim=16, parameters=10, ranks=1).total == 0
