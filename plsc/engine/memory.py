"""Put together what a training takes of a rank's memory, and say it in one line or as a warning.

What any network needs is computed here; a task adds its own sizes and the remedies against them.
"""

from dataclasses import dataclass, field

import paddle

from plsc.config.load import require
from plsc.config.registry import OPTIMIZERS
from plsc.config.sections import Config
from plsc.engine.activations import ActivationMemory, activation_memory, frozen_memory
from plsc.engine.machine import Machine, available_memory, resident_memory
from plsc.engine.network_trace import FLOAT, HALF, NetworkTrace


@dataclass(frozen=True)
class NetworkMemory:
    """Bytes of one device that a network and its update take, whatever the task.

    Attributes:
        weights: parameters and statistics, in float32.
        optimizer: state of the optimizer.
        vector: the copy of the trained weights that a GPU updates at once; 0 on a CPU.
        half_weights: copies of the parameters for a step in half precision.
        gradients: of the parameters that are trained.
        reduced: buffers in which the gradients of all ranks are summed.
        earlier: gradients of the micro-batches before.
        inputs: the batch of a step as it is loaded.
        activations: held when the forward pass of a micro-batch ends.
        backward: the most that its activations and gradients are together.
        update: the joined gradients and the intermediate results of an update of `vector`.

    """

    weights: int
    optimizer: int
    vector: int
    half_weights: int
    gradients: int
    reduced: int
    earlier: int
    inputs: int
    activations: int
    backward: int
    update: int


@dataclass(frozen=True)
class TaskMemory:
    """Bytes of one device that a task takes beside its network.

    Attributes:
        resident: held between steps too.
        step: held throughout a step.
        forward: held when the forward pass of a micro-batch ends.
        backward: held while the network's backward pass is at its fullest.
        update: held while weights are updated.

    """

    resident: int = 0
    step: int = 0
    forward: int = 0
    backward: int = 0
    update: int = 0


@dataclass(frozen=True)
class Estimate:
    """Memory that a rank takes in training; sizes are in bytes.

    Attributes:
        peak: the most memory of its device; on a CPU that is the host's memory.
        parts: name -> size of what the peak is mostly made of, in the order in which it is shown.
        remedies: name of a part -> what makes it smaller, as an instruction.
        host: memory of the host beside a GPU's.
        disk: files that vanish with the process.
        stored: what lies in `host` and on `disk`.
        traffic: exchanged with other ranks in a step.
        traffic_note: what a reader should know of that.

    """

    peak: int
    parts: dict[str, int]
    remedies: dict[str, str] = field(default_factory=dict)
    host: int = 0
    disk: int = 0
    stored: str = ""
    traffic: int = 0
    traffic_note: str = ""


def machine_of(config: Config, ranks: int) -> Machine:
    """Return the machine that `config` trains on, without its memory's size."""
    return Machine.cpu(ranks) if config.Global.device == "cpu" else Machine(devices=ranks)


def computes_in_half(config: Config) -> bool:
    """Return whether training computes in half precision: O1, which does nothing on a CPU."""
    fp16 = config.FP16
    return fp16 is not None and fp16.level == "O1" and config.Global.device == "gpu"


def optimizer_states(config: Config) -> int:
    """Return how many numbers of optimizer state each weight has."""
    optimizer = require(config.Optimizer, "Optimizer", "a plan")
    return len(optimizer.rule.build(OPTIMIZERS).state_names)


def network_memory(
    config: Config, trace: NetworkTrace, *, ranks: int, sample_bytes: int
) -> NetworkMemory:
    """Return what the network of `trace` takes.

    Args:
        config: the training's.
        trace: of its network.
        ranks: of all hosts.
        sample_bytes: one sample as it is loaded.

    Raises:
        UserError: a section that training needs is missing.

    """
    train = require(config.DataLoader.Train, "DataLoader.Train", "a plan")
    batch, parts = train.sampler.batch_size, config.Global.accum_steps
    trained = 0 if config.Global.freeze_backbone else trace.parameters
    states, joined = optimizer_states(config), config.Global.device != "cpu"
    activations = _activations(config, trace, batch=batch // parts)
    return NetworkMemory(
        weights=FLOAT * (trace.parameters + trace.statistics),
        optimizer=FLOAT * trained * states,
        vector=FLOAT * trained if joined else 0,
        half_weights=HALF * trace.parameters if computes_in_half(config) else 0,
        gradients=FLOAT * trained,
        # paddle.DataParallel's buffers, packed and reduced: measured with two ranks on a CPU.
        reduced=2 * FLOAT * trained if ranks > 1 else 0,
        earlier=FLOAT * trained if parts > 1 else 0,
        inputs=batch * sample_bytes,
        activations=activations.kept,
        backward=activations.backward,
        # Allocated beside the gradients: 2 vectors for Momentum, 4 for AdamW (measured on a CPU).
        update=2 * FLOAT * trained * states if joined else 0,
    )


def _activations(config: Config, trace: NetworkTrace, *, batch: int) -> ActivationMemory:
    half = computes_in_half(config)
    if config.Global.freeze_backbone:
        return frozen_memory(trace, batch=batch, half=half)
    recompute = config.DistributedStrategy.recompute
    return activation_memory(trace, batch=batch, half=half, recompute=recompute)


def peak_memory(network: NetworkMemory, task: TaskMemory, machine: Machine) -> tuple[int, int]:
    """Return the most bytes that a device holds, and how many of them its allocator keeps unused.

    The peak is less than the sum of all parts: activations, the loss and the update follow each
    other.
    """
    forward = network.activations + network.earlier + task.forward
    backward = network.backward + network.earlier + task.backward
    update = network.gradients + network.update + task.update
    step = network.half_weights + network.inputs + network.reduced + task.step
    step += max(forward, backward, update)
    slack = min(machine.slack * step, machine.most_slack)
    resident = network.weights + network.optimizer + network.vector + task.resident
    return int(machine.framework + resident + step + slack), int(slack)


def activations_remedy(config: Config) -> str:
    """Return what makes activations smaller, whatever the task."""
    again = config.DistributedStrategy.recompute is None
    return "set a smaller DataLoader.Train.sampler.batch_size, more Global.accum_steps" + (
        " or DistributedStrategy.recompute" if again else ""
    )


def amount(num_bytes: float) -> str:
    """Return bytes with a unit: 1.23 GB, 45.6 MB."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            return f"{num_bytes / size:.3g} {unit}"
    return f"{num_bytes / 1e3:.3g} kB"


def describe(estimate: Estimate) -> str:
    """Return memory of a rank and what it exchanges, in one line."""
    shown = ", ".join(f"{name} {amount(size)}" for name, size in estimate.parts.items() if size)
    text = f"estimate for a rank: about {amount(estimate.peak)} of memory ({shown})"
    if estimate.host:
        text += f", {amount(estimate.host)} of host memory for {estimate.stored}"
    if estimate.disk:
        text += f", {amount(estimate.disk)} of disk for {estimate.stored}"
    if estimate.traffic:
        text += f"; {amount(estimate.traffic)} exchanged in a step{estimate.traffic_note}"
    return text


def warnings(config: Config, estimate: Estimate, *, local_ranks: int) -> list[str]:
    """Return a warning with a remedy if memory will not do for the ranks of this host, or none."""
    short = _shortage(config, estimate, local_ranks=local_ranks)
    if not short:
        return []
    largest = max(estimate.remedies, key=lambda name: estimate.parts[name], default="")
    remedy = f": {estimate.remedies[largest]}" if largest else ""
    return [f"WARNING: {short}{remedy}"]


def _shortage(config: Config, estimate: Estimate, *, local_ranks: int) -> str:
    """Return what is too little, or ""."""
    free = available_memory()
    needed, kind = estimate.host, f"host memory for {estimate.stored}"
    if config.Global.device == "cpu":
        needed, kind = estimate.peak, "memory"
    else:
        total = paddle.device.cuda.get_device_properties().total_memory
        if estimate.peak > total:
            return f"training needs about {amount(estimate.peak)} of the GPU's {amount(total)}"
    more = (needed - resident_memory()) * local_ranks
    if free is None or more <= free:
        return ""
    ranks = f" for {local_ranks} ranks" if local_ranks > 1 else ""
    return f"training needs about {amount(more)} more {kind}{ranks}, {amount(free)} are available"
