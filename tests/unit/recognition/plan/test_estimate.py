"""Whole estimates: of every shipped config, against closed forms, and the largest class count."""

from dataclasses import replace

import pytest
from places import CONFIGS

from plsc.config.load import load_config, parse_config
from plsc.engine.machine import Machine
from plsc.engine.memory import amount
from plsc.engine.network_trace import LayerTrace, NetworkTrace
from plsc.recognition.plan.estimate import training_sizes
from plsc.recognition.plan.text import table

BARE = Machine(framework=0.0, memory=32e9)
# 1000 weights in two layers, that keep 2 kB of an image.
TRACE = NetworkTrace(
    (
        LayerTrace("a", "Conv2D", 100, 300, largest=100, parameters=400, kept=800, kept_half=400),
        LayerTrace("b", "Linear", 300, 64, largest=300, parameters=600, kept=1200, kept_half=600),
    ),
    {"a": (400, 200)},
    {},
    1000,
    50,
)


def config(ratio=1.0, batch=8, optimizer="Momentum", **changes):
    tree = {
        "Global": {"device": "cpu"},
        "Model": {"name": "QuickFace_nano", "class_num": 1000, "pfc_config": {}},
        "Optimizer": {"name": optimizer},
        "DataLoader": {
            "Train": {"dataset": {"name": "X"}, "sampler": {"batch_size": batch}},
        },
    }
    tree["Model"]["pfc_config"] = {"sample_ratio": ratio, **changes.pop("pfc", {})}
    for section, values in changes.items():
        tree[section] = {**tree.get(section, {}), **values}
    return parse_config(tree)


def sizes(config, trace, machine, dim=64):
    return training_sizes(config, trace, machine, dim=dim)


def test_what_is_held_throughout():
    device = sizes(config(), TRACE, BARE).device
    assert device.weights == 4 * 1050 and device.optimizer == 4 * 1000
    assert device.head_rows == device.head_state == 1000 * 64 * 4
    assert device.resident == 4 * 2050 + 2 * 1000 * 64 * 4
    device = sizes(config(optimizer="AdamW"), TRACE, BARE).device
    assert device.optimizer == 2 * 4 * 1000 and device.head_state == 2 * device.head_rows


def test_the_peak_is_that_of_the_fullest_phase():
    """At the end of forward, where the head is large; in backward, where it is small."""
    images = 8 * 3 * 112 * 112
    device = sizes(config(), TRACE, BARE).device
    assert device.activations == 8 * 2000 and device.head_logits == 8 * 1000 * 12
    assert device.peak == device.resident + images + 8 * 2000 + 8 * 1000 * 12
    small = sizes(config(Model={"class_num": 1, "name": "QuickFace_nano"}), TRACE, BARE).device
    assert small.peak == small.resident + images + small.backward
    assert small.backward == 8 * (2000 + 4 * 600) + 4 * 600 + small.head_gradient


def test_where_class_centres_are_kept():
    rows = 2 * 1000 * 64 * 4
    device, host, file = (
        sizes(config(pfc={"storage": kind}, Global={"device": "gpu"}), TRACE, BARE)
        for kind in ("device", "host", "file")
    )
    assert (device.host, device.disk) == (0, 0)
    assert (host.host, host.disk) == (rows, 0) and (file.host, file.disk) == (0, rows)
    copied = 1000 * 64 * 4
    assert device.device.peak - host.device.peak == rows - copied
    assert host.device.peak == file.device.peak and host.device.head_taken == copied
    on_cpu = sizes(config(pfc={"storage": "host"}), TRACE, BARE)
    assert on_cpu.host == 0 and on_cpu.device.head_rows * 2 == rows, "its memory is the host's"


def test_rows_read_ahead_are_in_the_hosts_memory():
    ahead = 3 * 100 * 64 * 4
    file = {"ratio": 0.1, "pfc": {"storage": "file"}}
    on_gpu = sizes(config(**file, Global={"device": "gpu"}), TRACE, BARE)
    assert on_gpu.host == ahead and on_gpu.device.head_ahead == 0
    on_cpu = sizes(config(**file), TRACE, BARE)
    assert on_cpu.host == 0 and on_cpu.device.head_ahead == ahead
    assert on_cpu.device.peak - on_gpu.device.peak == ahead


def test_ranks_share_the_classes_and_sum_gradients():
    one, four = (sizes(config(), TRACE, replace(BARE, devices=n)) for n in (1, 4))
    assert four.device.head_rows * 4 == one.device.head_rows
    assert four.device.gradients == 3 * one.device.gradients, "packed, and reduced"
    assert four.device.head_logits == one.device.head_logits, "4 times the samples"
    assert one.traffic.total == 0 and four.traffic.backbone_gradients == 4000


def test_communication_does_not_grow_with_classes():
    machine = replace(BARE, devices=8)
    few, many = (
        sizes(config(Model={"class_num": n, "name": "QuickFace_nano"}), TRACE, machine)
        for n in (100, 10**8)
    )
    assert few.traffic == many.traffic and few.device.head_rows < many.device.head_rows


def test_micro_batches():
    whole, parts = (sizes(config(Global={"accum_steps": n, "device": "cpu"}), TRACE, BARE)
                    for n in (1, 4))  # fmt: skip
    assert parts.device.activations * 4 == whole.device.activations
    assert parts.device.head_logits * 4 == whole.device.head_logits
    kept = parts.device.activations + parts.device.head_logits
    earlier = 4 * 1000 + parts.device.head_gradient
    assert parts.device.head_gradient == whole.device.head_gradient
    assert parts.device.peak == parts.device.resident + parts.device.images + kept + earlier


def test_a_frozen_backbone_keeps_nothing():
    found = sizes(config(Global={"freeze_backbone": True, "device": "cpu"}), TRACE, BARE)
    assert found.device.activations == found.device.gradients == found.device.optimizer == 0


def test_recompute_saves_memory():
    again = config(DistributedStrategy={"recompute": {"names": ["a"]}})
    found = sizes(again, TRACE, BARE)
    assert found.device.activations == 8 * (400 + 1200)


def test_precision_is_what_training_really_takes():
    half = {"FP16": {"level": "O1"}}
    assert sizes(config(**half), TRACE, BARE).precision == "float32", "O1 does nothing on a CPU"
    found = sizes(config(**half, Global={"device": "gpu"}), TRACE, BARE)
    assert found.precision == "float16" and found.device.activations == 8 * 1000
    assert found.device.half_weights == 2 * 1000


@pytest.mark.parametrize("ratio", [1.0, 0.1, ((0.0, 0.3), (0.5, 0.05))])
@pytest.mark.parametrize("devices", [1, 8])
def test_the_largest_class_count_fits_and_one_percent_more_does_not(ratio, devices):
    machine = Machine(devices=devices, memory=8e9)
    ratio = list(map(list, ratio)) if isinstance(ratio, tuple) else ratio
    most = sizes(config(ratio), TRACE, machine).largest_class_num

    def with_classes(number):
        pfc = {"class_num": number, "name": "QuickFace_nano", "pfc_config": {"sample_ratio": ratio}}
        return sizes(config(Model=pfc), TRACE, machine)

    assert most > 10**5
    assert with_classes(most).fits and not with_classes(int(most * 1.01)).fits


def test_limits_of_the_class_count():
    assert sizes(config(), TRACE, Machine()).largest_class_num is None, "no memory is stated"
    assert sizes(config(), TRACE, Machine(memory=1e6)).largest_class_num == 0
    no_steps = config(0.001, pfc={"storage": "file"})
    most, stored = (sizes(x, TRACE, BARE).largest_class_num for x in (no_steps, config(0.001)))
    assert stored is not None and (most is None or most > 10 * stored)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem[:40])
def test_every_shipped_config_has_a_sizes(path, trace_of):
    given = load_config(path)
    found = sizes(given, trace_of(given.Model.name), replace(BARE, devices=8), dim=512)
    assert found.fits and found.largest_class_num > given.Model.class_num
    assert found.device.resident < found.device.peak
    text = table(found)
    assert f"{given.Model.class_num} classes" in text
    for size in (found.device.peak, found.traffic.total, found.device.weights):
        assert amount(size) in text
