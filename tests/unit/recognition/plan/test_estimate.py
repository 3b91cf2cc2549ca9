"""Whole estimates: of every shipped config, against closed forms, and the largest class count."""

from dataclasses import replace

import pytest
from places import configs_of

from plsc.config.load import load_config, parse_config
from plsc.engine.machine import Machine
from plsc.engine.memory import amount
from plsc.engine.network_trace import LayerTrace, NetworkTrace
from plsc.recognition.plan.estimate import training_sizes

BARE = Machine(framework=0.0)
FILE = {"storage": "file"}
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


def sizes(config, machine=BARE):
    return training_sizes(config, TRACE, machine, dim=64)


def test_what_is_held_throughout():
    found = sizes(config())
    assert found.network.weights == 4 * 1050 and found.network.optimizer == 4 * 1000
    assert found.head.stored == found.head.state == 1000 * 64 * 4
    assert found.task.resident == 2 * 1000 * 64 * 4
    found = sizes(config(optimizer="AdamW"))
    assert found.network.optimizer == 2 * 4 * 1000 and found.head.state == 2 * found.head.stored


def test_the_peak_is_that_of_the_fullest_phase():
    """At the end of forward, where the head is large; in backward, where it is small."""
    images = 8 * 3 * 112 * 112
    found = sizes(config())
    assert found.network.activations == 8 * 2000 and found.head.logits == 8 * 1000 * 12
    assert found.peak == resident(found) + images + 8 * 2000 + 8 * 1000 * 12
    small = sizes(config(Model={"class_num": 1, "name": "QuickFace_nano"}))
    assert small.peak == resident(small) + images + small.network.backward + small.head.gradient
    assert small.network.backward == 8 * (2000 + 4 * 600) + 4 * 600


def resident(found):
    return found.network.weights + found.network.optimizer + found.task.resident


def test_where_class_centres_are_kept():
    rows = 2 * 1000 * 64 * 4
    device, host, file = (
        sizes(config(pfc={"storage": kind}, Global={"device": "gpu"}))
        for kind in ("device", "host", "file")
    )
    assert (device.host, device.disk) == (0, 0)
    assert (host.host, host.disk) == (rows, 0) and (file.host, file.disk) == (0, rows)
    copied = 1000 * 64 * 4
    assert device.peak - host.peak == rows - copied
    assert host.peak == file.peak and host.head.taken == copied
    on_cpu = sizes(config(pfc={"storage": "host"}))
    assert on_cpu.host == 0 and on_cpu.task.resident == rows, "its memory is the host's"


def test_rows_read_ahead_are_in_the_hosts_memory():
    ahead = 3 * 100 * 64 * 4
    file = {"ratio": 0.1, "pfc": {"storage": "file"}}
    on_gpu = sizes(config(**file, Global={"device": "gpu"}))
    assert on_gpu.host == ahead and on_gpu.task.step == 0
    on_cpu = sizes(config(**file))
    assert on_cpu.host == 0 and on_cpu.task.step == ahead
    assert on_cpu.peak - on_gpu.peak == ahead - on_gpu.network.vector


def test_ranks_share_the_classes_and_sum_gradients():
    one, four = (sizes(config(), replace(BARE, devices=n)) for n in (1, 4))
    assert four.task.resident * 4 == one.task.resident
    assert four.network.reduced == 2 * one.network.gradients, "packed, and reduced"
    assert four.head.logits == one.head.logits, "4 times the samples"
    assert one.traffic.total == 0 and four.traffic.backbone_gradients == 4000


def test_communication_does_not_grow_with_classes():
    few, many = (
        sizes(config(Model={"class_num": n, "name": "QuickFace_nano"}), replace(BARE, devices=8))
        for n in (100, 10**8)
    )
    assert few.traffic == many.traffic and few.task.resident < many.task.resident


def test_micro_batches():
    whole, parts = (sizes(config(Global={"accum_steps": n, "device": "cpu"})) for n in (1, 4))
    assert parts.network.activations * 4 == whole.network.activations
    assert parts.head.logits * 4 == whole.head.logits
    kept = parts.network.activations + parts.head.logits
    earlier = 4 * 1000 + parts.head.gradient
    assert parts.head.gradient == whole.head.gradient
    assert parts.peak == resident(parts) + parts.network.inputs + kept + earlier


def test_a_frozen_backbone_keeps_nothing():
    network = sizes(config(Global={"freeze_backbone": True, "device": "cpu"})).network
    assert network.activations == network.gradients == network.optimizer == 0


def test_recompute_saves_memory():
    again = config(DistributedStrategy={"recompute": {"names": ["a"]}})
    assert sizes(again).network.activations == 8 * (400 + 1200)


def test_precision_is_what_training_really_takes(plan_sizes):
    half = {"FP16": {"level": "O1"}}

    def tree(config):
        return plan_sizes.sizes_tree(config, TRACE, BARE, dim=64, memory=None)

    found = tree(config(**half))
    assert found["precision"] == "float32", "O1 does nothing on a CPU"
    assert found["fits"] is found["largest_class_num"] is None, "no memory is stated"
    found = tree(config(**half, Global={"device": "gpu"}))
    assert found["precision"] == "float16" and found["device"]["activations"] == 8 * 1000
    assert found["device"]["half_weights"] == 2 * 1000


@pytest.mark.parametrize("ratio", [1.0, 0.1, ((0.0, 0.3), (0.5, 0.05))])
@pytest.mark.parametrize("devices", [1, 8])
def test_the_largest_class_count_fits_and_one_percent_more_does_not(ratio, devices, plan_sizes):
    machine = Machine(devices=devices)
    ratio = list(map(list, ratio)) if isinstance(ratio, tuple) else ratio
    most = plan_sizes.largest_class_num(config(ratio), TRACE, machine, dim=64, memory=8e9)

    def peak(classes):
        pfc = {"class_num": classes, "name": "QuickFace_nano"}
        return sizes(config(Model={**pfc, "pfc_config": {"sample_ratio": ratio}}), machine).peak

    assert most > 10**5
    assert peak(most) <= 8e9 < peak(int(most * 1.01))


def test_limits_of_the_class_count(plan_sizes):
    def most(config, memory):
        return plan_sizes.largest_class_num(config, TRACE, BARE, dim=64, memory=memory)

    assert most(config(), 1e4) == 0
    in_files, stored = (most(x, 32e9) for x in (config(0.001, pfc=FILE), config(0.001)))
    assert stored is not None and (in_files is None or in_files > 10 * stored)


@pytest.mark.parametrize("path", configs_of("recognition"), ids=lambda path: path.stem[:40])
def test_every_shipped_config_fits_and_its_table_says_so(path, trace_of, plan_sizes):
    given = load_config(path)
    trace, machine = trace_of(given.Model.name), replace(BARE, devices=8)
    found = plan_sizes.sizes_tree(given, trace, machine, dim=512, memory=32e9)
    assert found["fits"] and found["largest_class_num"] > given.Model.class_num
    device = found["device"]
    assert device["resident"] < device["peak"]
    text = plan_sizes.table(found)
    assert f"{given.Model.class_num} classes" in text and "fits in 32 GB" in text
    for size in (device["peak"], found["traffic"]["total"], device["weights"]):
        assert amount(size) in text
