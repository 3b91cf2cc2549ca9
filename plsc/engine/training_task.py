"""The contract of a task in training: its loss, its sharded rows, its state in a checkpoint.

The contract of a training step: `task.loss(outputs, part).objective.backward()` leaves on each rank
its summand of the true gradient of the whole step's loss, over all ranks and all parts, and
`logged` is the same number on all ranks. The engine multiplies by the loss scale only. Every
trained parameter takes part in backward on every rank (multiply by zero, do not skip), and no rank
enters a collective that the others do not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a command asks for its task before it knows whether paddle is needed
    from pathlib import Path

    from paddle import Tensor, nn

    from plsc.checkpoint.sharded_rows import StoredRows
    from plsc.data.loader.batch import Batch
    from plsc.engine.log import RunLog
    from plsc.optimizer.rule import RowUpdate
    from plsc.weights.weights import Weights


@dataclass(frozen=True)
class StepLoss:
    """The loss of a part of a step.

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
    """The outcome of one step.

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
        """Return the rows as a checkpoint keeps them."""

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
    """A task as the training loop asks it; a task overrides what it has a use for.

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
            network: what is trained. Its weights may be changed here, but not after the first
                step: on a GPU the optimizer then writes them from a copy of its own.
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
