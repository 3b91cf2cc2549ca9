"""The contract of a task with the engine: network, loss, data, measures, export.

The engine knows a network, rows that are split over the ranks, and a task; it knows nothing of
faces. A task is two objects: a `TaskType`, which every command can ask, and a `TrainingTask`, which
exists only while something is trained: export and evaluation have no loss, no training set and no
ten million class centres.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from plsc.config.load import require
from plsc.config.readers import Reader
from plsc.config.registry import DATASETS
from plsc.config.sections import Config
from plsc.engine.training_task import StepLoss, StepReport, TrainingTask

if TYPE_CHECKING:  # a command asks for its task before it knows whether paddle is needed
    import numpy as np
    from paddle import nn

    from plsc.data.loader.batches import TrainingSet
    from plsc.export.spec import ExportSpec
    from plsc.weights.weights import NetworkInFile

__all__ = ["Evaluator", "NetworkFunction", "StepLoss", "StepReport", "TaskType", "TrainingTask"]

NetworkFunction = Callable[["np.ndarray"], Mapping[str, "np.ndarray"]]
"""A batch of inputs -> outputs by the names that ExportSpec gives them, in evaluation mode."""


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
    """A task as every command may ask it; a subclass is registered in TASKS.

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

    def network_in(self, path: str) -> NetworkInFile | None:
        """Return the network in another program's file that keeps no config; None: knows no such.

        Raises:
            UserError: the file is damaged, or holds a network that the task does not know.

        """
        return None

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
