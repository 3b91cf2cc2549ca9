"""Two ranks take an optimizer step as one, or skip it as one, and stop with the same words."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("update_run.py")
DENSE = {"fc.weight": (3, 4), "fc.bias": (4,), "bn.weight": (4,), "bn.bias": (4,)}
GOOD, INF, NAN, DENSE_INF = "good", "inf", "nan", "dense inf"
OVERFLOWS = [GOOD, INF, NAN, GOOD, DENSE_INF, GOOD, GOOD, GOOD, GOOD, INF, GOOD, INF]
#                  ÷2 at the second          1         2×2        2×2 = cap      (not in a row)
SCALES = [1024, 1024, 512, 512, 512, 512, 1024, 1024, 2048, 2048, 2048, 2048]


@pytest.fixture(scope="module", params=["0", "1"], ids=["tensor by tensor", "one vector"])
def ranks(module_worlds, request):
    """(arrays, report) of each rank, in both arrangements of the parameters."""
    worlds = module_worlds()
    worlds.run(2, SCRIPT, worlds.folder / "out", PLSC_STOCK_CPU=request.param)
    return [
        (
            dict(np.load(worlds.folder / f"out.{rank}.npz")),
            json.loads((worlds.folder / f"out.{rank}.json").read_text()),
        )
        for rank in range(2)
    ]


def prescribed():
    """The gradients that the script sets: the backbone's, and each rank's of the head."""
    dense = {
        name: np.random.default_rng([2, number]).normal(0, 1, shape)
        for number, (name, shape) in enumerate(DENSE.items())
    }
    heads = [np.random.default_rng([3, rank]).normal(0, 1, (3 - rank, 4)) for rank in range(2)]
    return dense, heads


@pytest.mark.parametrize("clip", ["together", "without_head", "upwards"])
def test_norm_counts_replicated_gradients_once_and_sharded_ones_all(ranks, clip):
    dense, heads = prescribed()
    backbone = sum((gradient**2).sum() for gradient in dense.values())
    head = sum((gradient**2).sum() for gradient in heads)
    norm = np.sqrt(backbone if clip == "without_head" else backbone + head)
    factor = (100.0 if clip == "upwards" else 0.5) / (norm + 1e-6)
    for rank, (arrays, report) in enumerate(ranks):
        found = report["clips"][clip]
        assert found["grad_norm"] == pytest.approx(np.sqrt(backbone), rel=1e-6)
        assert not found["overflow"]
        for name, gradient in dense.items():
            # v = factor·g + 0.01·p and p' = p − 0.1·v
            velocity = arrays[f"clips/{clip}/velocity/{name}"]
            start = arrays[f"clips/{clip}/{name}"] + 0.1 * velocity
            np.testing.assert_allclose(velocity, factor * gradient + 0.01 * start, atol=1e-5)
        weight = np.random.default_rng(1).normal(0, 0.1, (5, 4))[[slice(0, 3), slice(3, 5)][rank]]
        head_factor = 1.0 if clip == "without_head" else factor
        np.testing.assert_allclose(
            arrays[f"clips/{clip}/velocity/head"],
            head_factor * heads[rank] + 0.01 * weight,
            atol=1e-5,
        )


def test_one_ranks_overflow_skips_the_step_on_all(ranks):
    for arrays, report in ranks:
        states, steps = arrays["overflows/states"], report["overflows"]["overflows"]
        assert [overflow for overflow, _, _ in steps] == [kind != GOOD for kind in OVERFLOWS]
        assert [scale for _, _, scale in steps] == SCALES
        for kind, before, after in zip(OVERFLOWS, states, states[1:], strict=False):
            assert np.isfinite(after).all()
            assert (before.tobytes() == after.tobytes()) is (kind != GOOD)
        for kind, (_, names, _) in zip(OVERFLOWS, steps, strict=True):
            first = {INF: "head.weight", NAN: "head.weight", GOOD: ""}
            assert names == first.get(kind, "fc.weight, fc.bias, bn.weight")


def test_steps_do_not_depend_on_the_scale(ranks):
    """The good steps equal a plain run of them; those that overflowed leave no trace."""
    dense, heads = prescribed()
    for rank, (arrays, _) in enumerate(ranks):
        states = arrays["overflows/states"]
        gradient = [g.astype("float32").ravel() for g in (*dense.values(), heads[rank])]
        sizes = [len(g) for g in gradient]
        parts = np.split(states, np.cumsum(2 * sizes[:4] + 2 * sizes[4:])[:-1], axis=1)
        pairs = [(0, 4), (1, 5), (2, 6), (3, 7), (8, 9)]
        for (weight, velocity), g in zip(pairs, gradient, strict=True):
            p, v = parts[weight][0], np.zeros_like(g)
            for number, kind in enumerate(OVERFLOWS, 1):
                if kind == GOOD:
                    v = np.float32(0.9) * v + g + p * np.float32(0.01)
                    p = p - v * np.float32(0.1)
                np.testing.assert_allclose(parts[weight][number], p, rtol=1e-5, atol=1e-6)
                np.testing.assert_allclose(parts[velocity][number], v, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("image", "rank 1 on {host}: images (4 of 18 values are nan or inf)"),
        ("weight", "rank 0 on {host}: network fc.bias (1 of 4 values are nan or inf); "
                   "rank 1 on {host}: network fc.bias (1 of 4 values are nan or inf)"),
        ("centre", "rank 1 on {host}: head.weight (8 of 8 values are nan or inf)"),
    ],
)  # fmt: skip
def test_the_first_number_that_is_not_finite_is_named(ranks, kind, where):
    for _, report in ranks:
        error = report["spoilt"]["errors"][kind]
        assert error.startswith(
            "step 2: the loss is nan; " + where.format(host=socket.gethostname())
        )


def test_an_overflow_without_a_scale_to_lower_stops_the_run(ranks):
    for _, report in ranks:
        error = report["lone_overflow"]["lone"]
        assert error.startswith("step 1: the gradient of head.weight is not finite; all inputs")
        assert report["lone_overflow"]["unchanged"]


def test_dropout_is_a_function_of_step_and_rank(ranks):
    first, second = (arrays["seeds/masks"] for arrays, _ in ranks)
    for masks in (first, second):
        assert 0 < masks[0].sum() < masks[0].size
        np.testing.assert_array_equal(masks[0], masks[2])
        assert (masks[0] != masks[1]).any()
    assert (first[0] != second[0]).any()


def test_all_ranks_start_from_rank_0(ranks):
    (first, _), (second, _) = ranks
    for name, values in first.items():
        if name.startswith("starts/start/"):
            np.testing.assert_array_equal(values, second[name], err_msg=name)
    np.testing.assert_array_equal(first["starts/start/bn._mean"], 5.0)


def test_running_statistics_are_averaged(ranks):
    (first, _), (second, _) = ranks
    for name in ("bn._mean", "bn._variance"):
        own = [arrays[f"starts/own/{name}"] for arrays, _ in ranks]
        assert (own[0] != own[1]).all()
        for arrays in (first, second):
            found = arrays[f"starts/averaged/{name}"]
            np.testing.assert_allclose(found, (own[0] + own[1]) / 2, rtol=1e-6)
            np.testing.assert_array_equal(found, first[f"starts/averaged/{name}"])
            np.testing.assert_array_equal(found, arrays[f"starts/averaged twice/{name}"])
    for name in DENSE:
        np.testing.assert_array_equal(first[f"starts/averaged/{name}"], first[f"starts/own/{name}"])


def test_ranks_speak_only_in_the_last_backward_of_a_step(ranks):
    (first, _), (second, _) = ranks
    local = [arrays["accumulated/local"] for arrays in (first, second)]
    assert (local[0] != local[1]).any()
    summed = first["accumulated/summed"]
    np.testing.assert_array_equal(summed, second["accumulated/summed"])
    # The wrapper multiplies by W what Paddle averages; both backwards gave the same.
    np.testing.assert_allclose(summed, local[0] + local[1], rtol=1e-5, atol=1e-6)


def test_a_sample_holds_the_classes_of_all_ranks_images(ranks):
    """Also where they are more than the sample, and the ranks' samples differ in size."""
    expected = [([0, 1], [True, True, False]), ([1], [False, True])]
    for (arrays, report), (rows, moved) in zip(ranks, expected, strict=True):
        assert report["sampled"]["drawn"] == [rows] * 3
        assert arrays["sampled/moved"].tolist() == moved


def test_collectives(ranks):
    for rank, (arrays, report) in enumerate(ranks):
        assert arrays["collected/max"].tolist() == [[2, 0]]
        assert arrays["collected/sum"].tolist() == [[3, -1]]
        assert arrays["collected/gather"].tolist() == [[1, 0], [2, -1]]
        assert arrays["collected/broadcast"].tolist() == [[2, -1]]
        assert arrays["collected/own"].tolist() == [[rank + 1, -rank]]
        assert report["collected"]["objects"] == [{"rank": 0}, {"rank": 1}]
        assert report["collected"]["flags"] == [True, False, True] * 2
        labels, host, over_device, device = report["collected"]["gathered"]
        assert labels == over_device == [0, 1, 2, 10, 11, 12]
        assert "between the hosts" in host and "over the device" in device
