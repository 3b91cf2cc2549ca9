"""Searches 1:N against plain loops and known cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plsc.errors import UserError
from plsc.recognition.metrics.identification import identification, mean_of


def plain_search(probes, probe_subjects, gallery, gallery_subjects, ranks, fpirs):
    """Shares by rank and by FPIR; one search after the other, thresholds by trying all."""
    hits, mates, alarms = dict.fromkeys(ranks, 0), [], []
    for probe, subject in zip(probes, probe_subjects, strict=True):
        scores = [float((probe.astype(np.float64) * one).sum()) for one in gallery]
        own = [s for s, whose in zip(scores, gallery_subjects, strict=True) if whose == subject]
        others = [s for s, whose in zip(scores, gallery_subjects, strict=True) if whose != subject]
        if not own:
            alarms.append(max(others))
            continue
        mates.append(max(own))
        place = 1 + sum(score >= max(own) for score in others)
        for rank in ranks:
            hits[rank] += place <= rank
    tpir = {}
    for fpir in fpirs:
        if fpir * len(alarms) < 1:
            tpir[fpir] = None
            continue
        shares = [
            sum(mate > threshold for mate in mates) / len(mates)
            for threshold in [-99.0, *alarms]
            if sum(alarm > threshold for alarm in alarms) <= fpir * len(alarms) + 1e-9
        ]
        tpir[fpir] = max(shares)
    return {rank: found / len(mates) for rank, found in hits.items()}, tpir


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_probes=st.integers(1, 60),
    num_gallery=st.integers(1, 25),
    at_once=st.sampled_from([1, 16, 1024]),
)
def test_searches_agree_with_plain_loops(seed, num_probes, num_gallery, at_once):
    random = np.random.default_rng(seed)
    # Small whole numbers: products are exact, and equal scores occur.
    probes = random.integers(-2, 3, (num_probes, 3)).astype(np.float32)
    gallery = random.integers(-2, 3, (num_gallery, 3)).astype(np.float32)
    whose = random.integers(0, 12, num_probes)
    known = random.integers(0, 12, num_gallery)
    whose[0] = known[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plsc.recognition.metrics.identification.PROBES_AT_ONCE", at_once)
        found = identification(
            probes, whose, gallery, known, ranks=(1, 2, 5), fpirs=(0.05, 0.3, 1.0)
        )
    rank, tpir = plain_search(probes, whose, gallery, known, (1, 2, 5), (0.05, 0.3, 1.0))
    assert found.rank == pytest.approx(rank)
    assert found.tpir == pytest.approx(tpir)
    assert found.num_mated + found.num_nonmated == num_probes
    assert found.num_gallery == num_gallery


def test_perfect_searches():
    gallery = np.eye(20, dtype=np.float32)
    probes = np.concatenate([gallery, np.full((200, 20), 20**-0.5, np.float32)])
    found = identification(probes, np.arange(220), gallery, np.arange(20))
    assert found.rank == {1: 1.0, 5: 1.0, 10: 1.0}
    assert found.tpir == {1e-2: 1.0, 1e-1: 1.0}
    assert found.thresholds[1e-2] == pytest.approx(20**-0.5)


def test_a_model_that_collapsed_finds_nobody():
    same = np.full((300, 4), 0.5, np.float32)
    found = identification(same, np.arange(300), same[:50], np.arange(50))
    assert found.rank == {1: 0.0, 5: 0.0, 10: 0.0}
    assert found.tpir == {1e-2: 0.0, 1e-1: 0.0}


def test_a_rate_that_the_searches_cannot_resolve_is_left_out():
    gallery, probes = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[[0] * 50]
    found = identification(probes, [0] + [9] * 49, gallery, [0, 1, 2])
    assert found.tpir[1e-2] is None and found.thresholds[1e-2] is None
    assert found.tpir[1e-1] is not None


def test_a_gallery_of_strangers_is_refused():
    with pytest.raises(UserError, match="no person of the 2 probes is among the 1 templates"):
        identification(np.ones((2, 3)), [1, 2], np.ones((1, 3)), [3])


def test_the_mean_of_galleries():
    random = np.random.default_rng(2)
    probes, gallery = random.normal(size=(300, 4)), random.normal(size=(40, 4))
    parts = [
        identification(probes, np.arange(300), gallery[part], np.arange(40)[part])
        for part in (slice(0, 30), slice(30, 40))
    ]
    mean = mean_of(parts)
    assert mean.rank[5] == pytest.approx((parts[0].rank[5] + parts[1].rank[5]) / 2)
    assert mean.tpir[1e-1] == pytest.approx((parts[0].tpir[1e-1] + parts[1].tpir[1e-1]) / 2)
    assert (mean.num_gallery, mean.num_mated, mean.num_nonmated) == (40, 40, 560)
    few = identification(probes[:20], np.arange(20), gallery[:15], np.arange(15))
    assert few.tpir[1e-1] is None and mean_of([parts[0], few]).tpir[1e-1] is None
