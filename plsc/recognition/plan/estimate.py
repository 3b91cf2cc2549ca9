"""Compute the sizes of a training of a backbone with class centres, from its config and trace."""

from dataclasses import dataclass, field

from plsc.config.load import require
from plsc.config.sections import Config
from plsc.data.transforms.align import FACE_SIZE
from plsc.engine.machine import Machine
from plsc.engine.memory import (
    TaskMemory,
    computes_in_half,
    network_memory,
    optimizer_states,
    peak_memory,
)
from plsc.engine.network_trace import NetworkTrace
from plsc.recognition.plan import head as heads
from plsc.recognition.plan.head import PLSC, HeadCosts, HeadMemory, HeadShape, StepTraffic

IMAGE_BYTES = 3 * FACE_SIZE**2  # uint8; the backbone's first layer keeps floats
CLASSES_LIMIT = 2**34  # above all that the search for the largest class count looks at


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes of one device, what it holds throughout first; on a CPU that is the host's memory.

    `peak` is not the sum: activations, the head's temporaries and the update follow each other.
    """

    framework: int
    weights: int
    optimizer: int
    head_rows: int
    head_state: int
    half_weights: int
    gradients: int
    images: int
    activations: int
    head_taken: int
    head_gradient: int
    head_logits: int
    head_ahead: int
    backward: int
    update: int
    slack: int
    peak: int

    @property
    def resident(self) -> int:
        """Return what is held between two steps."""
        own = self.weights + self.optimizer + self.head_rows + self.head_state
        return self.framework + own


@dataclass(frozen=True)
class TrainingSizes:
    """Every size of a training; see `plsc.recognition.plan.text` for how they are shown.

    Attributes:
        device: memory of the rank that has most classes.
        host: bytes of one rank's rows in the host's memory.
        disk: bytes of one rank's rows in files.
        traffic: of one rank and step.
        largest_class_num: that fits `machine.memory`; None where that or the limit is not stated.

    """

    classes: int
    dim: int
    ranks: int
    batch: int
    sampled: int
    storage: str
    precision: str
    parameters: int
    device: DeviceMemory
    host: int
    disk: int
    traffic: StepTraffic
    largest_class_num: int | None
    machine: Machine = field(repr=False)

    @property
    def fits(self) -> bool | None:
        """Return whether the peak is within the memory stated; None without one."""
        return None if self.machine.memory is None else self.device.peak <= self.machine.memory


def training_sizes(
    config: Config, trace: NetworkTrace, machine: Machine, *, dim: int, costs: HeadCosts = PLSC
) -> TrainingSizes:
    """Return the sizes of a training.

    Args:
        config: the training's.
        trace: of its backbone.
        machine: that it runs on.
        dim: of the embeddings.
        costs: of the head's implementation.

    Raises:
        UserError: a section that training needs is missing.

    """
    return _Calculation(config, trace, machine, dim, costs).sizes()


class _Calculation:
    """The inputs of `training_sizes`, so that the device's memory is a function of the classes."""

    def __init__(
        self, config: Config, trace: NetworkTrace, machine: Machine, dim: int, costs: HeadCosts
    ):
        model = require(config.Model, "Model", "a plan")
        train = require(config.DataLoader.Train, "DataLoader.Train", "a plan")
        self.classes = require(model.class_num, "Model.class_num", "a plan")
        self.network = network_memory(
            config, trace, ranks=machine.devices, sample_bytes=IMAGE_BYTES
        )
        self.config, self.trace, self.machine = config, trace, machine
        self.dim, self.costs, self.pfc = dim, costs, model.pfc_config
        self.batch, self.parts = train.sampler.batch_size, config.Global.accum_steps
        self.samples = machine.devices * self.batch // self.parts
        self.states = optimizer_states(config)
        self.on_cpu = config.Global.device == "cpu"  # where the host's memory is the device's
        self.storage = "device" if self.on_cpu and self.pfc.storage == "host" else self.pfc.storage

    def sizes(self) -> TrainingSizes:
        """Return all of them."""
        fp16, head = self.config.FP16, self._head(self.classes)
        rows = head.stored + head.state
        return TrainingSizes(
            classes=self.classes,
            dim=self.dim,
            ranks=self.machine.devices,
            batch=self.batch,
            sampled=self._shape(self.classes).sampled,
            storage=self.storage,
            precision=fp16.dtype if fp16 and computes_in_half(self.config) else "float32",
            parameters=self.trace.parameters,
            device=self.device(self.classes),
            host=(rows if self.storage == "host" else 0) + (0 if self.on_cpu else head.ahead),
            disk=rows if self.storage == "file" else 0,
            traffic=self._traffic(),
            largest_class_num=self._largest(),
            machine=self.machine,
        )

    def _shape(self, classes: int) -> HeadShape:
        return heads.head_shape(
            self.pfc,
            classes=classes,
            dim=self.dim,
            ranks=self.machine.devices,
            samples=self.samples,
        )

    def _head(self, classes: int) -> HeadMemory:
        return heads.head_memory(
            self._shape(classes),
            dtype=self.pfc.dtype,
            states=self.states,
            parts=self.parts,
            storage=self.storage,
            sparse_update=self.pfc.sparse_update,
            costs=self.costs,
        )

    def device(self, classes: int) -> DeviceMemory:
        """Return the memory of one device, with so many classes."""
        network, head = self.network, self._head(classes)
        on_device = self.storage == "device"
        rows, state = (head.stored, head.state) if on_device else (0, 0)
        ahead = head.ahead if self.on_cpu else 0
        factors = head.gradient if self.parts > 1 else 0  # of the micro-batches before
        task = TaskMemory(
            resident=rows + state,
            step=ahead,
            forward=head.taken + head.logits + factors,
            backward=head.taken + head.gradient,
            update=head.taken + head.gradient,
        )
        peak, slack = peak_memory(network, task, self.machine)
        return DeviceMemory(
            framework=int(self.machine.framework),
            weights=network.weights,
            optimizer=network.optimizer,
            head_rows=rows,
            head_state=state,
            half_weights=network.half_weights,
            gradients=network.gradients + network.reduced,
            images=network.inputs,
            activations=network.activations,
            head_taken=head.taken,
            head_gradient=head.gradient,
            head_logits=head.logits,
            head_ahead=ahead,
            backward=network.backward + network.earlier + task.backward,
            update=network.gradients + task.update,
            slack=slack,
            peak=peak,
        )

    def _traffic(self) -> StepTraffic:
        loss = self.config.Loss
        return heads.step_traffic(
            samples=self.samples,
            parts=self.parts,
            dim=self.dim,
            parameters=0 if self.config.Global.freeze_backbone else self.trace.parameters,
            ranks=self.machine.devices,
            losses=1 if loss is None else len(loss.Train),
        )

    def _largest(self) -> int | None:
        limit = self.machine.memory
        if limit is None:
            return None
        if self.device(1).peak > limit:
            return 0
        low, high = 1, CLASSES_LIMIT
        if self.device(high).peak <= limit:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.device(middle).peak <= limit else (low, middle)
        return low
