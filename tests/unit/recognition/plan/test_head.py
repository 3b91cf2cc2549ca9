"""The head's figures against closed forms."""

import pytest

from plsc.recognition.plan import head as heads
from plsc.recognition.sections import PfcConfig

ALL = PfcConfig()
TENTH = PfcConfig(sample_ratio=0.1)


def memory(pfc, *, classes=1000, dim=512, ranks=1, samples=64, states=1, **changes):
    sizes = {"classes": classes, "dim": dim, "ranks": ranks, "samples": samples}
    return heads.head_memory(pfc, **sizes, states=states, **changes)


def test_the_largest_shard_and_its_rows():
    found = memory(TENTH, classes=1001, ranks=8)
    assert (found.stored, found.sampled) == (126 * 512 * 4, 12)
    assert found.logits == 64 * 12 * 12
    assert memory(TENTH, classes=8, ranks=8).sampled == 1


def test_a_schedule_counts_with_its_largest_ratio():
    pfc = PfcConfig(sample_ratio=((0.0, 0.1), (0.5, 0.9), (0.8, 0.4)))
    assert heads.largest_ratio(pfc) == 0.9
    assert heads.largest_ratio(PfcConfig(sample_ratio=0.3)) == 0.3


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2), ("bfloat16", 2)])
@pytest.mark.parametrize("states", [1, 2])
def test_stored_rows(dtype, size, states):
    found = memory(PfcConfig(sample_ratio=0.1, dtype=dtype), states=states)
    assert found.stored == 1000 * 512 * size
    assert found.state == states * 1000 * 512 * size
    assert found.taken == 100 * 512 * 4  # computed in float32 whatever they are stored in


def test_all_rows_in_float32_are_not_copied():
    assert memory(ALL).taken == 0
    assert memory(PfcConfig(dtype="float16")).taken > 0


@pytest.mark.parametrize("storage", ["host", "file"])
def test_rows_from_elsewhere_are_copied_and_read_ahead(storage):
    away = {"states": 2, "storage": storage}
    every = memory(ALL, **away)
    assert every.taken == 1000 * 512 * 4 and every.ahead == 0
    # Of the next step's rows the weight and both states, of this one's both states.
    assert memory(TENTH, **away).ahead == 5 * 100 * 512 * 4
    half = PfcConfig(sample_ratio=0.1, dtype="bfloat16")
    assert memory(half, **away).ahead == 5 * 100 * 512 * 2
    assert memory(TENTH, states=2).ahead == 0


def test_the_gradient_is_kept_as_factors_where_they_are_smaller():
    few, many = memory(ALL, samples=512), memory(ALL, samples=513)
    assert few.gradient == (512 * 1000 + 512 * 512) * 4
    assert many.gradient == 1000 * 512 * 4
    four = memory(ALL, samples=128, parts=4)
    assert four.gradient == few.gradient, "those of all micro-batches"
    assert memory(ALL, samples=129, parts=4).gradient == many.gradient


def test_traffic():
    traffic = {"parts": 2, "dim": 512, "parameters": 1000, "ranks": 4}
    found = heads.step_traffic(samples=64, losses=2, **traffic)
    assert found.features == found.feature_gradients == 128 * 512 * 4
    assert found.labels == 128 * 8 and found.reductions == (2 * 3 * 128 + 1) * 4
    assert found.backbone_gradients == 4000 and found.total == found.head + 4000
    assert heads.step_traffic(samples=64, **(traffic | {"ranks": 1})).total == 0
