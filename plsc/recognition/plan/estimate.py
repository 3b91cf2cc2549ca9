"""Compute the sizes of a training of a backbone with class centres, from its config and trace."""

from dataclasses import dataclass

from plsc.config.load import require
from plsc.config.sections import Config
from plsc.data.transforms.align import FACE_SIZE
from plsc.engine.machine import Machine
from plsc.engine.memory import (
    NetworkMemory,
    TaskMemory,
    network_memory,
    optimizer_states,
    peak_memory,
)
from plsc.engine.network_trace import NetworkTrace
from plsc.recognition.plan.head import HeadMemory, StepTraffic, head_memory, step_traffic

IMAGE_BYTES = 3 * FACE_SIZE**2  # uint8; the backbone's first layer keeps floats


@dataclass(frozen=True)
class TrainingSizes:
    """Bytes of the rank that has most classes; on a CPU its device's memory is the host's.

    Attributes:
        network: the backbone and its update.
        head: the class centres and their step, wherever they are.
        task: those of the head's that the device holds.
        peak: the most that the device holds.
        slack: how much of that its allocator keeps unused.
        host: the head's in the host's memory beside a GPU's.
        disk: the head's in files.
        traffic: of a step.

    """

    network: NetworkMemory
    head: HeadMemory
    task: TaskMemory
    peak: int
    slack: int
    host: int
    disk: int
    traffic: StepTraffic


def training_sizes(
    config: Config, trace: NetworkTrace, machine: Machine, *, dim: int
) -> TrainingSizes:
    """Return the sizes of a training.

    Args:
        config: the training's.
        trace: of its backbone.
        machine: that it runs on.
        dim: of the embeddings.

    Raises:
        UserError: a section that training needs is missing.

    """
    model = require(config.Model, "Model", "a plan")
    train = require(config.DataLoader.Train, "DataLoader.Train", "a plan")
    ranks, parts = machine.devices, config.Global.accum_steps
    samples = ranks * train.sampler.batch_size // parts
    network = network_memory(config, trace, ranks=ranks, sample_bytes=IMAGE_BYTES)
    on_cpu, storage = config.Global.device == "cpu", model.pfc_config.storage
    if on_cpu and storage == "host":  # the host's memory is the device's
        storage = "device"
    head = head_memory(
        model.pfc_config,
        classes=require(model.class_num, "Model.class_num", "a plan"),
        dim=dim,
        ranks=ranks,
        samples=samples,
        states=optimizer_states(config),
        parts=parts,
        storage=storage,
    )
    rows = head.stored + head.state
    earlier = head.gradient if parts > 1 else 0  # factors of the micro-batches before
    task = TaskMemory(
        resident=rows if storage == "device" else 0,
        step=head.ahead if on_cpu else 0,
        forward=head.taken + head.logits + earlier,
        backward=head.taken + head.gradient,
        update=head.taken + head.gradient,
    )
    peak, slack = peak_memory(network, task, machine)
    return TrainingSizes(
        network,
        head,
        task,
        peak,
        slack,
        host=(rows if storage == "host" else 0) + (0 if on_cpu else head.ahead),
        disk=rows if storage == "file" else 0,
        traffic=step_traffic(
            samples=samples,
            parts=parts,
            dim=dim,
            parameters=0 if config.Global.freeze_backbone else trace.parameters,
            ranks=ranks,
            losses=1 if config.Loss is None else len(config.Loss.Train),
        ),
    )
