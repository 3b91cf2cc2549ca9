"""The head's figures against closed forms."""

import pytest

from plsc.recognition.plan import head as heads
from plsc.recognition.plan.head import HeadCosts, HeadShape
from plsc.recognition.sections import PfcConfig


def test_the_largest_shard_and_its_rows():
    pfc = PfcConfig(sample_ratio=0.1)
    assert heads.head_shape(pfc, classes=1001, dim=512, ranks=8, samples=64) == HeadShape(
        126, 12, 64, 512
    )
    assert heads.head_shape(pfc, classes=8, dim=512, ranks=8, samples=64).sampled == 1


def test_a_schedule_counts_with_its_largest_ratio():
    pfc = PfcConfig(sample_ratio=((0.0, 0.1), (0.5, 0.9), (0.8, 0.4)))
    assert heads.largest_ratio(pfc) == 0.9
    assert heads.largest_ratio(PfcConfig(sample_ratio=0.3)) == 0.3


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2), ("bfloat16", 2)])
@pytest.mark.parametrize("states", [1, 2])
def test_stored_rows(dtype, size, states):
    found = heads.head_memory(HeadShape(1000, 100, 64, 512), dtype=dtype, states=states)
    assert found.stored == 1000 * 512 * size
    assert found.state == states * 1000 * 512 * size
    assert found.taken == 100 * 512 * 4  # computed in float32 whatever they are stored in


def test_all_rows_in_float32_are_not_copied():
    assert heads.head_memory(HeadShape(1000, 1000, 64, 512), dtype="float32", states=1).taken == 0
    assert heads.head_memory(HeadShape(1000, 1000, 64, 512), dtype="float16", states=1).taken > 0


@pytest.mark.parametrize("storage", ["host", "file"])
def test_rows_from_elsewhere_are_copied_and_read_ahead(storage):
    away = {"dtype": "float32", "states": 2, "storage": storage}
    every = heads.head_memory(HeadShape(1000, 1000, 64, 512), **away)
    assert every.taken == 1000 * 512 * 4 and every.ahead == 0
    some = HeadShape(1000, 100, 64, 512)
    # Of the next step's rows the weight and both states, of this one's both states.
    assert heads.head_memory(some, **away).ahead == 5 * 100 * 512 * 4
    assert heads.head_memory(some, **(away | {"dtype": "bfloat16"})).ahead == 5 * 100 * 512 * 2
    assert heads.head_memory(some, **away, sparse_update=False).ahead == 0
    assert heads.head_memory(some, **(away | {"storage": "device"})).ahead == 0


def test_the_gradient_is_kept_as_factors_where_they_are_smaller():
    few = heads.head_memory(HeadShape(1000, 1000, 512, 512), dtype="float32", states=1)
    many = heads.head_memory(HeadShape(1000, 1000, 513, 512), dtype="float32", states=1)
    assert few.gradient == (512 * 1000 + 512 * 512) * 4
    assert many.gradient == 1000 * 512 * 4
    parts = {"dtype": "float32", "states": 1, "parts": 4}
    four = heads.head_memory(HeadShape(1000, 1000, 128, 512), **parts)
    assert four.gradient == few.gradient, "those of all micro-batches"
    assert heads.head_memory(HeadShape(1000, 1000, 129, 512), **parts).gradient == many.gradient
    product = heads.head_memory(
        HeadShape(1000, 1000, 8, 512), dtype="float32", states=1, costs=HeadCosts(factors=False)
    )
    assert product.gradient == 1000 * 512 * 4


def test_the_costs_of_an_implementation():
    costs = HeadCosts(logits=7, rows=3, sampled=5)
    found = heads.head_memory(HeadShape(1000, 10, 8, 512), dtype="float32", states=1, costs=costs)
    assert found.logits == 8 * 10 * 7 and found.taken == 10 * 512 * (3 + 5)


def test_traffic():
    traffic = {"parts": 2, "dim": 512, "parameters": 1000, "ranks": 4}
    found = heads.step_traffic(samples=64, losses=2, **traffic)
    assert found.features == found.feature_gradients == 128 * 512 * 4
    assert found.labels == 128 * 8 and found.reductions == (2 * 3 * 128 + 1) * 4
    assert found.backbone_gradients == 4000 and found.total == found.head + 4000
    assert heads.step_traffic(samples=64, **(traffic | {"ranks": 1})).total == 0
