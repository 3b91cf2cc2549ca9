"""An estimate of a task that nobody knows, against sums by hand, and what is said of it."""

from dataclasses import replace

import pytest

from plsc.config.load import parse_config
from plsc.engine import memory
from plsc.engine.machine import Machine
from plsc.engine.memory import (
    Estimate,
    NetworkMemory,
    TaskMemory,
    amount,
    describe,
    network_memory,
    peak_memory,
    warnings,
)
from plsc.engine.network_trace import LayerTrace, NetworkTrace

NETWORK = NetworkMemory(
    weights=1000,
    optimizer=2000,
    vector=500,
    half_weights=1,
    gradients=30,
    reduced=2,
    earlier=3,
    inputs=4,
    activations=100,
    backward=150,
    update=60,
)
BARE = Machine(framework=0.0)
ESTIMATE = Estimate(
    peak=5_000_000,
    parts={"network": 4_000_000, "anchors": 900_000, "activations": 0, "masks": 1_000_000},
    remedies={"anchors": "set fewer anchors", "masks": "set smaller masks"},
)


def config(device="cpu", **changes):
    tree = {
        "Global": {"device": device},
        "Optimizer": {"name": "AdamW"},
        "DataLoader": {"Train": {"dataset": {"name": "X"}, "sampler": {"batch_size": 8}}},
    }
    for section, values in changes.items():
        tree[section] = {**tree.get(section, {}), **values}
    return parse_config(tree)


@pytest.fixture
def free(monkeypatch):
    """`free(available)` in bytes."""

    def put(available):
        monkeypatch.setattr(memory, "available_memory", lambda: available)
        monkeypatch.setattr(memory, "resident_memory", lambda: 0)

    return put


def test_the_peak_is_that_of_the_fullest_phase():
    throughout = 1000 + 2000 + 500 + 1 + 4 + 2 + 7 + 50
    task = TaskMemory(resident=50, step=7, forward=20, backward=20, update=20)
    assert peak_memory(NETWORK, task, BARE) == (throughout + 150 + 3 + 20, 0)
    loss = replace(task, forward=1000)
    assert peak_memory(NETWORK, loss, BARE) == (throughout + 100 + 3 + 1000, 0)
    update = replace(task, update=1000)
    assert peak_memory(NETWORK, update, BARE) == (throughout + 30 + 60 + 1000, 0)


def test_the_allocator_keeps_a_share_of_a_step_up_to_a_limit():
    step = 1 + 4 + 2 + 150 + 3
    machine = Machine(framework=10_000, slack=0.5, most_slack=90)
    assert peak_memory(NETWORK, TaskMemory(), machine) == (10_000 + 3500 + step + 80, 80)
    machine = replace(machine, most_slack=15)
    assert peak_memory(NETWORK, TaskMemory(), machine) == (10_000 + 3500 + step + 15, 15)


def test_a_network_without_any_head():
    layer = LayerTrace("a", "Linear", 10, 20, largest=10, parameters=200, kept=40, kept_half=20)
    trace = NetworkTrace((layer,), parameters=200, statistics=5)
    found = network_memory(config(), trace, ranks=1, sample_bytes=3)
    assert found == NetworkMemory(
        weights=4 * 205,
        optimizer=2 * 4 * 200,
        vector=0,
        half_weights=0,
        gradients=4 * 200,
        reduced=0,
        earlier=0,
        inputs=8 * 3,
        activations=8 * 40,
        backward=8 * (40 + 4 * 30) + 4 * 200,
        update=0,
    )
    on_gpu = network_memory(config("gpu"), trace, ranks=1, sample_bytes=3)
    assert on_gpu == replace(found, vector=4 * 200, update=4 * 4 * 200), "AdamW has two states"
    parts = config(Global={"accum_steps": 2, "device": "cpu"})
    found = network_memory(parts, trace, ranks=2, sample_bytes=3)
    assert (found.earlier, found.reduced, found.activations) == (4 * 200, 2 * 4 * 200, 4 * 40)
    frozen = config(Global={"freeze_backbone": True, "device": "cpu"})
    found = network_memory(frozen, trace, ranks=2, sample_bytes=3)
    assert found.gradients == found.optimizer == found.reduced == found.activations == 0
    assert found.backward == 8 * 4 * 30


def test_the_line_names_what_is_there():
    line = describe(ESTIMATE)
    assert line == (
        "estimate for a rank: about 5 MB of memory (network 4 MB, anchors 900 kB, masks 1 MB)"
    )
    more = replace(
        ESTIMATE, host=7_000, disk=8_000, stored="rows", traffic=9_000, traffic_note=", always"
    )
    assert describe(more) == (
        f"{line}, 7 kB of host memory for rows, 8 kB of disk for rows; "
        "9 kB exchanged in a step, always"
    )


def test_the_warning_gives_the_remedy_of_the_largest_part_that_has_one(free):
    free(6e6)
    assert warnings(config(), ESTIMATE, local_ranks=1) == []
    (warning,) = warnings(config(), ESTIMATE, local_ranks=2)
    assert warning == (
        "WARNING: training needs about 10 MB more memory for 2 ranks, 6 MB are available: "
        "set smaller masks"
    )
    (warning,) = warnings(config(), replace(ESTIMATE, remedies={}), local_ranks=2)
    assert warning.endswith("6 MB are available")


def test_amounts():
    assert [amount(x) for x in (1234, 4.56e6, 7.89e9, 1.2e12)] == [
        "1.23 kB",
        "4.56 MB",
        "7.89 GB",
        "1.2 TB",
    ]
