"""The sizes of a training for `plan.py`: a tree for programs, a table for people."""

from dataclasses import asdict, replace
from typing import Any

from plsc.config.load import require
from plsc.config.registry import BACKBONES
from plsc.config.sections import Config
from plsc.engine.machine import Machine
from plsc.engine.memory import amount, computes_in_half
from plsc.engine.network_trace import NetworkTrace
from plsc.recognition.plan.estimate import TrainingSizes, training_sizes
from plsc.recognition.plan.forecast import trace_backbone

CLASSES_LIMIT = 2**34  # above all that the search for the largest class count looks at


def trace_of(config: Config) -> tuple[NetworkTrace, int]:
    """Return the trace of the config's backbone and the size of its embeddings.

    Its maps are NCHW: every CPU computes them, and keeps as much.
    """
    component = require(config.Model, "Model", "a plan").backbone
    component.check(BACKBONES)
    if "data_format" in component.params:
        component = replace(component, params={**component.params, "data_format": "NCHW"})
    backbone = component.build(BACKBONES)
    return trace_backbone(backbone), backbone.num_features


def largest_class_num(
    config: Config, trace: NetworkTrace, machine: Machine, *, dim: int, memory: float
) -> int | None:
    """Return the most classes whose training fits into `memory` bytes of a device, 0 if none does.

    None where no number up to CLASSES_LIMIT is too large.
    """

    def fits(classes: int) -> bool:
        changed = replace(config, Model=replace(config.Model, class_num=classes))
        return training_sizes(changed, trace, machine, dim=dim).peak <= memory

    if not fits(1):
        return 0
    low, high = 1, CLASSES_LIMIT
    if fits(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def sizes_tree(
    config: Config, trace: NetworkTrace, machine: Machine, *, dim: int, memory: float | None
) -> dict[str, Any]:
    """Return all sizes as plain values, for JSON; `memory` is that of a device, if it is stated."""
    sizes = training_sizes(config, trace, machine, dim=dim)
    pfc, fp16 = config.Model.pfc_config, config.FP16
    on_cpu = config.Global.device == "cpu" and pfc.storage == "host"
    most = None
    if memory is not None:
        most = largest_class_num(config, trace, machine, dim=dim, memory=memory)
    return {
        "classes": config.Model.class_num,
        "dim": dim,
        "ranks": machine.devices,
        "batch": config.DataLoader.Train.sampler.batch_size,
        "sampled": sizes.head.sampled,
        "storage": "device" if on_cpu else pfc.storage,
        "precision": fp16.dtype if fp16 and computes_in_half(config) else "float32",
        "parameters": trace.parameters,
        "device": _device(sizes, machine),
        "host": sizes.host,
        "disk": sizes.disk,
        "traffic": asdict(sizes.traffic) | {"total": sizes.traffic.total},
        "largest_class_num": most,
        "machine": asdict(machine) | {"memory": memory},
        "fits": None if memory is None else sizes.peak <= memory,
    }


def _device(sizes: TrainingSizes, machine: Machine) -> dict[str, int]:
    network, head, task = sizes.network, sizes.head, sizes.task
    framework, on_device = int(machine.framework), task.resident > 0
    return {
        "framework": framework,
        "weights": network.weights,
        "optimizer": network.optimizer,
        "head_rows": head.stored if on_device else 0,
        "head_state": head.state if on_device else 0,
        "resident": framework + network.weights + network.optimizer + task.resident,
        "half_weights": network.half_weights,
        "gradients": network.gradients + network.reduced,
        "images": network.inputs,
        "activations": network.activations,
        "head_taken": head.taken,
        "head_ahead": task.step,
        "head_gradient": head.gradient,
        "head_logits": head.logits,
        "backward": network.backward + network.earlier + task.backward,
        "update": network.gradients + task.update,
        "slack": sizes.slack,
        "peak": sizes.peak,
    }


SHOWN = {
    "framework": "framework",
    "weights": "backbone weights ({parameters:.2f} M)",
    "optimizer": "backbone optimizer state",
    "head_rows": "class centres (storage {storage})",
    "head_state": "class centres' optimizer state",
    "resident": "  between steps",
    "half_weights": "half-precision weights",
    "gradients": "backbone gradients",
    "images": "images",
    "activations": "activations kept for backward",
    "head_taken": "head: taken rows",
    "head_ahead": "head: rows read ahead",
    "head_gradient": "head: gradient of the rows",
    "head_logits": "head: cosines, logits, probabilities",
    "slack": "allocator",
    "peak": "  peak (the phases of a step do not add up)",
    "host": "host memory of a rank for class centres",
    "disk": "disk of a rank for class centres",
}
EXCHANGED = {
    "features": "gather of features",
    "labels": "gather of labels",
    "reductions": "three reductions of the loss",
    "feature_gradients": "gradient of features",
    "backbone_gradients": "all-reduce of backbone gradients",
    "total": "  total",
}


def table(tree: dict[str, Any]) -> str:
    """Return every size of `sizes_tree`, a line each."""
    words = {**tree, "parameters": tree["parameters"] / 1e6}
    lines = [
        f"{tree['classes']} classes x {tree['dim']} on {tree['ranks']} device(s), "
        f"{tree['sampled']} rows in a step, batch {tree['batch']} each, {tree['precision']}",
        "",
        "Memory of a device",
        *_rows({**tree, **tree["device"]}, SHOWN, words),
        "",
        "Communication of a rank in a step (size of the results; none grows with classes)",
        *_rows(tree["traffic"], EXCHANGED, words),
    ]
    if tree["fits"] is not None:
        most = "no limit found" if tree["largest_class_num"] is None else tree["largest_class_num"]
        fits = "fits" if tree["fits"] else "DOES NOT FIT"
        memory = amount(tree["machine"]["memory"])
        lines += ["", f"{fits} in {memory}; largest class count: {most}"]
    return "\n".join(lines)


def _rows(sizes: dict[str, float], names: dict[str, str], words: dict[str, Any]) -> list[str]:
    return [
        f"  {name.format(**words):46}{amount(sizes[key]):>12}"
        for key, name in names.items()
        if sizes[key]
    ]
