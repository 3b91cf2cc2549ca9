"""What the engine asks of a task: a network to train, its loss, its data, its measures.

The engine knows a network, rows that are split over the ranks, and a task; it knows nothing of
faces. A task is two objects: a `TaskType`, which every command can ask, and a `TrainingTask`, which
exists only while something is trained: export and evaluation have no loss, no training set and no
ten million class centres.

The contract of a training step: `task.loss(outputs, part).objective.backward()` leaves on each rank
its summand of the true gradient of the whole step's loss, over all ranks and all parts, and
`logged` is the same number on all ranks. The engine multiplies by the loss scale only. Every
trained parameter takes part in backward on every rank (multiply by zero, do not skip), and no rank
enters a collective that the others do not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from plsc.config.load import require
from plsc.config.readers import Reader
from plsc.config.registry import DATASETS
from plsc.config.sections import Config

if TYPE_CHECKING:  # a command asks for its task before it knows whether paddle is needed
    from pathlib import Path

    import numpy as np
    from paddle import Tensor, nn

    from plsc.checkpoint.sharded_rows import StoredRows
    from plsc.data.loader.batch import Batch
    from plsc.data.loader.batches import TrainingSet
    from plsc.engine.log import RunLog
    from plsc.export.spec import ExportSpec
    from plsc.optimizer.rule import RowUpdate
    from plsc.weights.weights import Weights

NetworkFunction = Callable[["np.ndarray"], Mapping[str, "np.ndarray"]]
"""A batch of inputs -> outputs by the names that ExportSpec gives them, in evaluation mode."""


@dataclass(frozen=True)
class StepLoss:
    """What a task makes of a part of a step.

    Attributes:
        objective: scalar to differentiate; its backward pass leaves this rank's summand of the
            gradient of the whole step's loss.
        logged: scalar, the part's summand of the step's loss, the same on all ranks.
        statistics: further scalars by name, the same on all ranks; the mean over the parts of a
            step is logged.

    """

    objective: Tensor
    logged: Tensor
    statistics: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class StepReport:
    """What one step did.

    Attributes:
        loss: of the global batch.
        lr: learning rate.
        grad_norm: of the replicated parameters' gradient, before clipping.
        loss_scale: the gradients were those of this times the loss.
        skipped: whether a gradient overflowed, so that nothing was changed.
        statistics: the task's scalars, for the log and metrics.jsonl.
        figures: what only metrics.jsonl records.

    """

    loss: float
    lr: float
    grad_norm: float
    loss_scale: float
    skipped: bool
    statistics: dict[str, float]
    figures: dict[str, float]


class Sharded(Protocol):
    """Trained rows that are split over the ranks, with their optimizer state.

    Attributes:
        name: the state-dict key that the rows would have.
        aliases: other names that `no_clip_list` and `no_weight_decay_name` may call them by.
        lr_multiplier: the rows learn at the learning rate times this.

    """

    name: str
    aliases: tuple[str, ...]
    lr_multiplier: float

    @property
    def stored(self) -> StoredRows:
        """The rows as a checkpoint keeps them."""

    def squared_norm(self) -> Tensor:
        """Return the squared norm of the step's gradient of this rank's rows, a scalar."""

    def update(self, rule: RowUpdate) -> None:
        """Apply an optimizer's rule to the rows that took part in the step."""

    def end_step(self) -> None:
        """Let go of what the step held; called whether or not there was an update."""


class Watcher(Protocol):
    """Looks at each step's report and says in the log what a user should know."""

    def __call__(self, report: StepReport, step: int) -> None:
        """Judge the report of optimizer step number `step`, from 1."""


class TrainingTask(ABC):
    """What the training loop asks of a task; a task overrides what it has a use for.

    Attributes:
        sharded: rows that are split over the ranks; empty for most tasks.
        wants_upcoming: whether `begin_step` has a use for the batch after its own. Only then is
            that batch read early.

    """

    sharded: Sequence[Sharded] = ()
    wants_upcoming: bool = False

    @abstractmethod
    def loss(self, outputs: Any, part: Batch) -> StepLoss:
        """Return the loss of a part of the step's batch; see the contract above.

        Args:
            outputs: what the network made of the part, a tensor or a nest of tensors.
            part: the next of the batch's parts.

        """

    def start(  # noqa: B027
        self, weights: Weights | None, network: nn.Layer, folder: Path, log: RunLog
    ) -> None:
        """Begin from `weights` that are not a checkpoint to resume, or from nothing.

        Args:
            weights: what was found at Global.pretrained_model; the network has them already.
            network: what is trained.
            folder: where large temporary files may go.
            log: hears what was done.

        """

    def begin_step(  # noqa: B027
        self, batch: Batch, *, step: int, fraction: float, upcoming: Batch | None = None
    ) -> None:
        """Prepare for a step on `batch`, before it is parted; called by all ranks.

        Args:
            batch: of this rank.
            step: optimizer steps taken before.
            fraction: of training that is done.
            upcoming: the next step's batch, if it is known.

        """

    def figures(self, fraction: float) -> dict[str, float]:
        """Return what metrics.jsonl records of a step beside the loss and its statistics."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Return the task's own tensors of the step by name, to find those that are not finite."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint's state.json keeps of the task, as JSON has it."""
        return {}

    def check_state(self, state: Mapping[str, Any], path: str) -> None:  # noqa: B027
        """Refuse a checkpoint that this training cannot go on from.

        Raises:
            UserError: says what differs and what to do.

        """

    def restore(self, state: Mapping[str, Any], path: str, log: RunLog) -> None:  # noqa: B027
        """Go on from the `state` of the checkpoint at `path`."""

    def notes(self) -> Sequence[str]:
        """Return lines to log when a run starts."""
        return ()

    def describe(self, fraction: float) -> str:
        """Return what is trained beside the network, for a line of the log."""
        return ""

    def watchers(self, log: RunLog) -> Sequence[Watcher]:
        """Return what is to look at every step."""
        return ()


class Evaluator(Protocol):
    """Measures a network on one set.

    Attributes:
        name: of the set, for log and metrics.jsonl.

    """

    name: str

    @property
    def num_samples(self) -> int:
        """Inputs that the network is given on each rank."""

    def report(self, network: NetworkFunction) -> Any:
        """Return all that the set says about `network`, the same on every rank.

        Called by all ranks, with the network in evaluation mode.

        Raises:
            Unmeasurable: the outputs tell nothing, as early in training; the set counts as none.

        """

    def scalars(self, report: Any) -> dict[str, float]:
        """Return the figures of `report` that a run records; `metric` chooses the best model."""

    def shown(self, scalars: Mapping[str, float]) -> str:
        """Return the part of `scalars` for a line of the log."""

    def size(self) -> str:
        """Return how large the set is, in words."""


class TaskType(ABC):
    """What every command can ask of a task; a subclass is registered in TASKS.

    Attributes:
        sections: readers (value, key) -> section of the config's Model, Loss, Metric and Export;
            see `plsc.config.sections.Config` for what all of them have.

    """

    sections: Mapping[str, Reader]

    @abstractmethod
    def network(self, config: Config) -> nn.Layer:
        """Return the network, its weights random."""

    @abstractmethod
    def training(
        self, config: Config, network: nn.Layer, dataset: TrainingSet, state_names: Sequence[str]
    ) -> TrainingTask:
        """Return what the loop trains `network` with; called by all ranks together.

        Args:
            config: a checked one.
            network: what is trained.
            dataset: what it is trained on.
            state_names: of the optimizer, which rows that are split over ranks have too.

        """

    @abstractmethod
    def export_spec(
        self, config: Config, network: nn.Layer, state: Mapping[str, Any], source: str
    ) -> ExportSpec:
        """Return how the network is exported and how the file is held against it.

        Args:
            config: of the export.
            network: with its weights.
            state: of the checkpoint that these are of; empty for other weights.
            source: where they come from.

        """

    def check(self, config: Config) -> None:  # noqa: B027
        """Check the names and parameters of the task's own sections; touch no device.

        Raises:
            UserError: the first that is wrong.

        """

    def check_training(self, config: Config) -> None:  # noqa: B027
        """Check that all that training needs is there and fits together; touch no device.

        Raises:
            UserError: a section or key is missing, or values contradict each other.

        """

    def dataset(self, config: Config) -> TrainingSet:
        """Return the training set; read its list, touch no device."""
        data = require(config.DataLoader.Train, "DataLoader.Train", "training")
        found: TrainingSet = data.dataset.build(DATASETS)
        return found

    def evaluators(self, config: Config) -> Sequence[Evaluator]:
        """Return what measures the network; touch no device."""
        return ()

    def describe(self, config: Config, network: nn.Layer) -> dict[str, str]:
        """Return what goes along with the network's weights in a checkpoint, as texts."""
        return {}

    def for_export(self, config: Config) -> Config:
        """Return the config whose network converters know, with the same state dict."""
        return config

    def memory(
        self, config: Config, network: nn.Layer | None, *, ranks: int, local_ranks: int
    ) -> list[str]:
        """Return lines about the memory that training takes; before the network is built: None."""
        return []

    def write_report(  # noqa: B027
        self,
        config: Config,
        source: str,
        precision: str,
        network: nn.Layer,
        measured: Sequence[tuple[Evaluator, Any]],
        outputs: Any,
    ) -> None:
        """Write what the user asked `plsc-eval` for: tables, JSON, a page."""
