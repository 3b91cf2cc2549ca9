"""What plsc-train says of its memory at start, and its warning that there is too little."""

from dataclasses import replace

import paddle
from paddle import nn

from plsc.config.load import require
from plsc.config.sections import Config
from plsc.recognition.plan.estimate import Memory, Plan, plan
from plsc.recognition.plan.head import largest_ratio
from plsc.recognition.plan.machine import Machine, available_memory, resident_memory
from plsc.recognition.plan.text import amount
from plsc.recognition.plan.trace import Trace, trace

NOTHING = Trace((), {}, {}, 0, 0, 0)


def before_building(config: Config, *, ranks: int, local_ranks: int) -> list[str]:
    """A warning if the class centres alone are more than there is memory for, or no line.

    Args:
        config: a checked one.
        ranks: of all hosts.
        local_ranks: of this host.

    """
    model = require(config.Model, "Model", "training")
    dim = model.params.get("num_features", 512)
    found = plan(config, replace(NOTHING, num_features=dim), _machine(config, ranks))
    return _warning(config, found, local_ranks=local_ranks)


def lines(config: Config, backbone: nn.Layer, *, ranks: int, local_ranks: int) -> list[str]:
    """One line with the estimate for a rank, and a warning if memory will not do.

    Runs the backbone on one image, which changes nothing; a fifth of a second for IResNet50 on two
    cores.
    """
    found = plan(config, trace(backbone), _machine(config, ranks))
    return [describe(found), *_warning(config, found, local_ranks=local_ranks)]


def describe(found: Plan) -> str:
    """Memory of a rank and what it exchanges, in one line."""
    device = found.device
    backbone = device.weights + device.optimizer
    parts = {
        "backbone and optimizer": backbone,
        "class centres": device.head_rows + device.head_state,
        "activations": device.activations,
        "head's step": device.head_taken + device.head_ahead + device.head_logits,
    }
    shown = ", ".join(f"{name} {amount(size)}" for name, size in parts.items() if size)
    text = f"estimate for a rank: about {amount(device.peak)} of memory ({shown})"
    if found.host:
        text += f", {amount(found.host)} of host memory for class centres"
    if found.disk:
        text += f", {amount(found.disk)} of disk for class centres"
    if found.ranks > 1:
        text += f"; {amount(found.traffic.total)} exchanged in a step, whatever the classes"
    return text


def _machine(config: Config, ranks: int) -> Machine:
    return Machine.cpu(ranks) if config.Global.device == "cpu" else Machine(devices=ranks)


def _warning(config: Config, found: Plan, *, local_ranks: int) -> list[str]:
    short = _shortage(config, found, local_ranks=local_ranks)
    return [f"WARNING: {short}: {_remedy(config, found.device)}"] if short else []


def _shortage(config: Config, found: Plan, *, local_ranks: int) -> str:
    """What is too little, or ""."""
    free = available_memory()
    needed, of = found.host, "host memory for class centres"
    if config.Global.device == "cpu":
        needed, of = found.device.peak, "memory"
    else:
        total = paddle.device.cuda.get_device_properties().total_memory
        if found.device.peak > total:
            return f"training needs about {amount(found.device.peak)} of the GPU's {amount(total)}"
    more = (needed - resident_memory()) * local_ranks
    if free is None or more <= free:
        return ""
    ranks = f" for {local_ranks} ranks" if local_ranks > 1 else ""
    return f"training needs about {amount(more)} more {of}{ranks}, {amount(free)} are available"


def _remedy(config: Config, device: Memory) -> str:
    """What makes the largest part smaller."""
    pfc = require(config.Model, "Model", "training").pfc_config
    sizes = {
        "centres": device.head_rows + device.head_state,
        "activations": device.activations,
        "logits": device.head_taken + device.head_ahead + device.head_logits,
    }
    largest = max(sizes, key=lambda name: sizes[name])
    if largest == "activations":
        again = config.DistributedStrategy.recompute is None
        return "set a smaller DataLoader.Train.sampler.batch_size, more Global.accum_steps" + (
            " or DistributedStrategy.recompute" if again else ""
        )
    if largest == "logits":
        ratio = largest_ratio(pfc)
        return (
            f"set a smaller Model.pfc_config.sample_ratio (it is {ratio:g}), a smaller "
            "DataLoader.Train.sampler.batch_size or more Global.accum_steps"
        )
    storage = "file" if config.Global.device == "cpu" else "host or file"
    return f"set Model.pfc_config.storage to {storage}, or use more ranks"
