"""Define the contract of a task with the engine: network, loss, data, evaluation, export.

The engine knows a network, rows that are split over the ranks, and a task. It knows nothing of
faces. A task consists of two objects: a `TaskType`, which serves every command, and a
`TrainingTask`, which exists only during training. Export and evaluation need no loss, no training
set and no ten million class centres.
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
"""Maps a batch of inputs to outputs by the names of ExportSpec, in evaluation mode."""


class Evaluator(Protocol):
    """Measures a network on one set.

    Attributes:
        name: name of the set in the log and in metrics.jsonl.

    """

    name: str

    @property
    def num_samples(self) -> int:
        """Return the number of inputs that the network of each rank receives."""

    def report(self, network: NetworkFunction) -> Any:
        """Measure `network` on the set; all ranks call this together and return the same.

        The network is in evaluation mode.

        Raises:
            Unmeasurable: the outputs have no meaning yet, as happens early in training. The set is
                then left out.

        """

    def scalars(self, report: Any) -> dict[str, float]:
        """Return the figures of `report` that a run records; `metric` selects the best model."""

    def shown(self, scalars: Mapping[str, float]) -> str:
        """Format the most important `scalars` for a line of the log."""

    def size(self) -> str:
        """Describe the size of the set."""


class TaskType(ABC):
    """The part of a task that serves every command. Register a subclass in TASKS.

    Attributes:
        sections: readers (value, key) -> section for Model, Loss, Metric and Export of the config;
            `plsc.config.sections.Config` lists the keys that all tasks share.

    """

    sections: Mapping[str, Reader]

    @abstractmethod
    def network(self, config: Config) -> nn.Layer:
        """Return the network with random weights."""

    @abstractmethod
    def training(
        self, config: Config, network: nn.Layer, dataset: TrainingSet, state_names: Sequence[str]
    ) -> TrainingTask:
        """Return the task that trains `network`. All ranks call this together.

        Args:
            config: checked config.
            network: the network to train.
            dataset: the training set.
            state_names: names of the optimizer's state, which sharded rows have, too.

        """

    @abstractmethod
    def export_spec(
        self, config: Config, network: nn.Layer, state: Mapping[str, Any], source: str
    ) -> ExportSpec:
        """Specify the export of the network and the comparison of the file with the network.

        Args:
            config: config of the export.
            network: the network with its weights.
            state: state of the checkpoint that holds the weights; empty for other weights.
            source: path of the weights.

        """

    def check(self, config: Config) -> None:  # noqa: B027
        """Check the names and parameters of the task's own sections, without touching a device.

        Raises:
            UserError: names the first mistake.

        """

    def check_training(self, config: Config) -> None:  # noqa: B027
        """Check that the config is complete for training, without touching a device.

        Raises:
            UserError: a section or key is missing, or values contradict each other.

        """

    def dataset(self, config: Config) -> TrainingSet:
        """Return the training set; this reads its list and touches no device."""
        data = require(config.DataLoader.Train, "DataLoader.Train", "training")
        dataset: TrainingSet = data.dataset.build(DATASETS)
        return dataset

    def evaluators(self, config: Config) -> Sequence[Evaluator]:
        """Return the evaluators of the network, without touching a device."""
        return ()

    def describe(self, config: Config, network: nn.Layer) -> dict[str, str]:
        """Return texts that a checkpoint stores with the weights of the network."""
        return {}

    def network_in(self, path: str) -> NetworkInFile | None:
        """Return the network in a file of another program that holds no config.

        Returns:
            None if the task does not know such files.

        Raises:
            UserError: the file is damaged, or holds a network that the task does not know.

        """
        return None

    def for_export(self, config: Config) -> Config:
        """Return the config of a network that converters support and that has the same state."""
        return config

    def memory(
        self, config: Config, network: nn.Layer | None, *, ranks: int, local_ranks: int
    ) -> list[str]:
        """Return lines about the memory of training; `network` is None before it is built."""
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
        """Write the tables, the JSON or the page that the user of `plsc-eval` asked for."""
