"""The position of a training: epoch, step, images."""

from dataclasses import asdict, dataclass


@dataclass
class Progress:
    """Position in the training, and what follows from it.

    Attributes:
        epochs: epochs to train.
        num_images: images of the training set.
        steps_per_epoch: optimizer steps of an epoch at this world size.
        global_batch: images of one optimizer step over all ranks.
        step: optimizer steps taken.
        epoch: epochs finished.
        consumed: images of the current epoch's order that have been used.
        best_metric: of the checkpoint `best_model`; None before the first evaluation.

    """

    epochs: int
    num_images: int
    steps_per_epoch: int
    global_batch: int
    step: int = 0
    epoch: int = 0
    consumed: int = 0
    best_metric: float | None = None

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, consumed): where the data goes on."""
        return self.epoch, self.consumed

    @property
    def finished(self) -> bool:
        """Tell whether all epochs are done."""
        return self.epoch >= self.epochs

    @property
    def time(self) -> float:
        """Position in the schedule, in steps of this world size.

        A whole number, unless a checkpoint of another global batch was resumed in mid-epoch: then
        the same fraction of training as there.
        """
        return self.epoch * self.steps_per_epoch + self.consumed / self.global_batch

    @property
    def fraction(self) -> float:
        """Share of training that is done."""
        return self.time / (self.epochs * self.steps_per_epoch)

    @property
    def steps_left(self) -> float:
        """Steps until all epochs are done."""
        return max(0.0, self.epochs * self.steps_per_epoch - self.time)

    @property
    def name(self) -> str:
        """Return what a checkpoint of this moment is called."""
        return f"step_{self.step}" if self.consumed else f"epoch_{self.epoch}"

    def advance(self) -> None:
        """Count an optimizer step."""
        self.step += 1
        self.consumed += self.global_batch

    def next_epoch(self) -> None:
        """Count an epoch."""
        self.epoch += 1
        self.consumed = 0

    def due(self, unit: str, interval: int, *, after: str) -> bool:
        """Tell whether what happens every `interval` steps or epochs (`unit`) is due.

        Asked `after` a step or an epoch; when training has ended all is due.
        """
        passed = self.step if after == "step" else self.epoch
        whole = unit == after and passed % interval == 0
        return whole or (after == "epoch" and self.finished)

    def state(self) -> dict:
        """Return what a checkpoint keeps."""
        return asdict(self)

    def restore(self, state: dict) -> None:
        """Go on from a checkpoint of any world size."""
        self.step, self.epoch = int(state["step"]), int(state["epoch"])
        self.consumed, self.best_metric = int(state["consumed"]), state["best_metric"]
