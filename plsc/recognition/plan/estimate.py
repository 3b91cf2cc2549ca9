"""Config + trace of its backbone + machine -> `Plan`: memory, communication, time."""

from dataclasses import dataclass, field

from plsc.config.load import require
from plsc.config.registry import OPTIMIZERS
from plsc.config.sections import Config
from plsc.nn.layers import IMAGE_SIZE
from plsc.recognition.plan import head as heads
from plsc.recognition.plan.activations import Passes, passes
from plsc.recognition.plan.head import PLSC, HeadCosts, HeadMemory, Traffic
from plsc.recognition.plan.machine import Machine
from plsc.recognition.plan.trace import FLOAT, HALF, Trace

IMAGE_NUMBERS = 3 * IMAGE_SIZE**2
# How often a kept byte goes to or from memory: written, read by the next layer and again by
# backward, with its gradient written and read, and BatchNorm's extra passes.
ACTIVATION_PASSES = 8
CLASSES_LIMIT = 2**34  # above all that the search for the largest class count looks at


@dataclass(frozen=True)
class Memory:
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
        """Between two steps."""
        own = self.weights + self.optimizer + self.head_rows + self.head_state
        return self.framework + own


@dataclass(frozen=True)
class Speed:
    """Seconds of one step, and images/s of all devices."""

    backbone: float
    head: float
    communication: float
    images_per_second: float


@dataclass(frozen=True)
class Plan:
    """The estimate; see `plsc.recognition.plan.text` for how it is shown.

    Attributes:
        device: memory of the rank that has most classes.
        host: bytes of one rank's rows in the host's memory.
        disk: bytes of one rank's rows in files.
        traffic: of one rank and step.
        multiply_adds: of one image's forward pass.
        flops: floating-point operations of one image's forward and backward pass.
        head_flops: of one rank and step.
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
    device: Memory
    host: int
    disk: int
    traffic: Traffic
    multiply_adds: int
    flops: int
    head_flops: int
    speed: Speed
    largest_class_num: int | None
    machine: Machine = field(repr=False)

    @property
    def fits(self) -> bool | None:
        """Whether the peak is within the memory stated; None without one."""
        return None if self.machine.memory is None else self.device.peak <= self.machine.memory


def plan(config: Config, trace: Trace, machine: Machine, *, costs: HeadCosts = PLSC) -> Plan:
    """The estimate for `config`, whose backbone `trace` is of.

    Raises:
        UserError: a section that training needs is missing.

    """
    return _Estimate(config, trace, machine, costs).plan()


class _Estimate:
    """The parts of one plan."""

    def __init__(self, config: Config, trace: Trace, machine: Machine, costs: HeadCosts):
        model = require(config.Model, "Model", "a plan")
        train = require(config.DataLoader.Train, "DataLoader.Train", "a plan")
        optimizer = require(config.Optimizer, "Optimizer", "a plan")
        self.classes = require(model.class_num, "Model.class_num", "a plan")
        self.pfc, self.trace, self.machine, self.costs = model.pfc_config, trace, machine, costs
        self.batch, self.parts = train.sampler.batch_size, config.Global.accum_steps
        self.states = len(optimizer.rule.build(OPTIMIZERS).state_names)
        self.losses = len(config.Loss.Train) if config.Loss is not None else 1
        self.frozen = config.Global.freeze_backbone
        fp16 = config.FP16
        self.on_cpu = config.Global.device == "cpu"  # where the host's memory is the device's
        self.storage = "device" if self.on_cpu and self.pfc.storage == "host" else self.pfc.storage
        self.half = fp16 is not None and fp16.level == "O1" and config.Global.device == "gpu"
        self.precision = fp16.dtype if fp16 is not None and self.half else "float32"
        self.passes = self._passes(config)

    def _passes(self, config: Config) -> Passes:
        found = passes(
            self.trace,
            batch=self.batch // self.parts,
            half=self.half,
            recompute=config.DistributedStrategy.recompute,
        )
        if not self.frozen:
            return found
        width = HALF if self.half else FLOAT
        moving = max((x.numbers_in + x.numbers_out for x in self.trace.layers), default=0)
        return Passes(0, moving * width * (self.batch // self.parts), 0)

    def plan(self) -> Plan:
        """All of it."""
        machine, trace = self.machine, self.trace
        shape = self._shape(self.classes)
        head = self._head(self.classes)
        rows = head.stored + head.state
        traffic = self._traffic()
        forward_and_backward = 1 if self.frozen else 3
        work = forward_and_backward * trace.multiply_adds + self.passes.repeated
        return Plan(
            classes=self.classes,
            dim=trace.num_features,
            ranks=machine.devices,
            batch=self.batch,
            sampled=shape.sampled,
            storage=self.storage,
            precision=self.precision,
            parameters=trace.parameters,
            device=self.memory(self.classes),
            host=(rows if self.storage == "host" else 0) + (0 if self.on_cpu else head.ahead),
            disk=rows if self.storage == "file" else 0,
            traffic=traffic,
            multiply_adds=trace.multiply_adds,
            flops=2 * work,
            head_flops=heads.flops(shape) * self.parts,
            speed=self._speed(2 * work, traffic),
            largest_class_num=self._largest(),
            machine=machine,
        )

    def _shape(self, classes: int) -> heads.HeadShape:
        return heads.shape(
            self.pfc,
            classes=classes,
            dim=self.trace.num_features,
            ranks=self.machine.devices,
            samples=self.machine.devices * self.batch // self.parts,
        )

    def _head(self, classes: int) -> HeadMemory:
        return heads.memory(
            self._shape(classes),
            dtype=self.pfc.dtype,
            states=self.states,
            parts=self.parts,
            storage=self.storage,
            sparse_update=self.pfc.sparse_update,
            costs=self.costs,
        )

    def memory(self, classes: int) -> Memory:
        """Of one device, with so many classes."""
        trace, head, on_device = self.trace, self._head(classes), self.storage == "device"
        trained = 0 if self.frozen else trace.parameters
        weights = FLOAT * (trace.parameters + trace.statistics)
        gradients = FLOAT * trained
        half_weights = HALF * trace.parameters if self.half else 0
        images = self.batch * IMAGE_NUMBERS  # uint8; the backbone's first layer keeps floats
        ahead = head.ahead if self.on_cpu else 0
        # Gradients of the micro-batches before.
        parted, factors = (gradients, head.gradient) if self.parts > 1 else (0, 0)
        # paddle.DataParallel's buffers, packed and reduced: measured with two ranks on a CPU.
        reduced = 2 * gradients if self.machine.devices > 1 else 0
        during_head = self.passes.kept + head.taken + head.logits + parted + factors
        backward = self.passes.backward + head.taken + head.gradient + parted
        update = gradients + head.taken + head.gradient
        step = half_weights + images + reduced + ahead + max(during_head, backward, update)
        resident = weights + FLOAT * trained * self.states
        resident += (head.stored + head.state) if on_device else 0
        slack = min(self.machine.slack * step, self.machine.most_slack)
        return Memory(
            framework=int(self.machine.framework),
            weights=weights,
            optimizer=FLOAT * trained * self.states,
            head_rows=head.stored if on_device else 0,
            head_state=head.state if on_device else 0,
            half_weights=half_weights,
            gradients=gradients + reduced,
            images=images,
            activations=self.passes.kept,
            head_taken=head.taken,
            head_gradient=head.gradient,
            head_logits=head.logits,
            head_ahead=ahead,
            backward=backward,
            update=update,
            slack=int(slack),
            peak=int(self.machine.framework + resident + step + slack),
        )

    def _traffic(self) -> Traffic:
        return heads.traffic(
            samples=self.machine.devices * self.batch // self.parts,
            parts=self.parts,
            dim=self.trace.num_features,
            parameters=0 if self.frozen else self.trace.parameters,
            ranks=self.machine.devices,
            losses=self.losses,
        )

    def _speed(self, flops: int, traffic: Traffic) -> Speed:
        """Of a ring of devices, whose backward pass hides the all-reduce of the gradients."""
        machine, shape, costs = self.machine, self._shape(self.classes), self.costs
        moved = ACTIVATION_PASSES * self.trace.kept(half=self.half) * self.batch
        backbone = self.batch * flops / machine.flops + moved / machine.memory_bandwidth
        elements = shape.samples * shape.sampled * FLOAT * costs.passes
        updates = shape.sampled * shape.dim * FLOAT * 2 * (1 + self.states)
        head = heads.flops(shape) / machine.float32_flops
        head += (elements + updates) / machine.memory_bandwidth
        backbone, head = backbone / machine.efficiency, head * self.parts / machine.efficiency
        others = (machine.devices - 1) / machine.devices
        gathered = traffic.features + traffic.labels
        summed = 2 * (traffic.feature_gradients + traffic.reductions)
        exchange = others * (gathered + summed) / machine.bandwidth
        reduce = others * 2 * traffic.backbone_gradients / machine.bandwidth
        exchange += max(0.0, reduce - backbone * 2 / 3)
        total = backbone + head + exchange + machine.overhead
        return Speed(backbone, head, exchange, self.batch * machine.devices / total)

    def _largest(self) -> int | None:
        limit = self.machine.memory
        if limit is None:
            return None
        if self.memory(1).peak > limit:
            return 0
        low, high = 1, CLASSES_LIMIT
        if self.memory(high).peak <= limit:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.memory(middle).peak <= limit else (low, middle)
        return low
