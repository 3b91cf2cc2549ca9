"""Define the contract of a task in training: its loss, its sharded rows, its state in a checkpoint.

A training step is split into parts (micro-batches). `task.loss(outputs, part).objective.backward()`
leaves on each rank the rank's summand of the true gradient of the loss of the whole step, over all
ranks and all parts. `logged` is the same number on all ranks. The engine multiplies by the loss
scale only. Every trained parameter takes part in backward on every rank: multiply by zero, do not
skip. No rank enters a collective that the others do not enter.
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
        objective: scalar to differentiate; its backward leaves this rank's summand of the gradient
            of the loss of the whole step.
        logged: scalar, the part's summand of the loss of the step, the same on all ranks.
        statistics: further scalars by name, the same on all ranks; the log shows their mean over
            the parts of a step.

    """

    objective: Tensor
    logged: Tensor
    statistics: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class StepReport:
    """The outcome of one step.

    Attributes:
        loss: loss of the global batch.
        lr: learning rate.
        grad_norm: norm of the gradient of the replicated parameters, before clipping.
        loss_scale: factor on the loss before backward.
        skipped: true if a gradient overflowed and the step changed nothing.
        statistics: scalars of the task for the log and metrics.jsonl.
        figures: numbers of the task for metrics.jsonl only.

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
        name: state-dict key of the rows.
        aliases: other names of the rows in `no_clip_list` and `no_weight_decay_name`.
        lr_multiplier: factor on the learning rate of the rows.

    """

    name: str
    aliases: tuple[str, ...]
    lr_multiplier: float

    @property
    def stored(self) -> StoredRows:
        """Return the rows that a checkpoint stores."""

    def squared_norm(self) -> Tensor:
        """Return the squared norm, a scalar, of the gradient of this rank's rows."""

    def update(self, rule: RowUpdate) -> None:
        """Apply the optimizer's rule to the rows that took part in the step."""

    def end_step(self) -> None:
        """Release the memory of the step; called with or without an update."""


class Watcher(Protocol):
    """Reads the report of each step and tells the user in the log what matters."""

    def __call__(self, report: StepReport, step: int) -> None:
        """Judge the report of optimizer step number `step`, from 1."""


class TrainingTask(ABC):
    """The part of a task that the training loop calls. A task overrides the methods that it needs.

    Attributes:
        sharded: rows that are split over the ranks; empty for most tasks.
        wants_upcoming: true if `begin_step` uses the batch after its own. Only then does the loop
            read that batch early.

    """

    sharded: Sequence[Sharded] = ()
    wants_upcoming: bool = False

    @abstractmethod
    def loss(self, outputs: Any, part: Batch) -> StepLoss:
        """Return the loss of a part of the step's batch; see the contract of this module.

        Args:
            outputs: output of the network for the part, a tensor or a nest of tensors.
            part: the next part of the batch.

        """

    def start(  # noqa: B027
        self, weights: Weights | None, network: nn.Layer, folder: Path, log: RunLog
    ) -> None:
        """Start a training that does not resume a checkpoint.

        Args:
            weights: the weights of Global.pretrained_model, which the network already has; None
                for random weights.
            network: the network to train. Change its weights here if you need to, but not after
                the first step: on a GPU the optimizer then holds a copy of its own.
            folder: folder for large temporary files.
            log: log of the run.

        """

    def begin_step(  # noqa: B027
        self, batch: Batch, *, step: int, fraction: float, upcoming: Batch | None = None
    ) -> None:
        """Prepare a step before its batch is split into parts. All ranks call this together.

        Args:
            batch: the batch of this rank.
            step: number of optimizer steps taken before this one.
            fraction: completed fraction of training, in [0, 1].
            upcoming: the batch of the next step, if it has been read already.

        """

    def figures(self, fraction: float) -> dict[str, float]:
        """Return numbers that metrics.jsonl records beside the loss and its statistics."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Return the task's own tensors of the step by name, to find NaN and infinity in."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return the task's entries of a checkpoint's state.json, of types that JSON has."""
        return {}

    def check_state(self, state: Mapping[str, Any], path: str) -> None:  # noqa: B027
        """Refuse a checkpoint from which this training cannot resume.

        Raises:
            UserError: names the difference and the remedy.

        """

    def restore(self, state: Mapping[str, Any], path: str, log: RunLog) -> None:  # noqa: B027
        """Resume from the `state` of the checkpoint at `path`."""

    def notes(self) -> Sequence[str]:
        """Return lines to log when a run starts."""
        return ()

    def describe(self, fraction: float) -> str:
        """Describe what the task trains beside the network, for a line of the log."""
        return ""

    def watchers(self, log: RunLog) -> Sequence[Watcher]:
        """Return the watchers that read the report of every step."""
        return ()
