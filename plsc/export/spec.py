"""A task's description of its export: inputs, outputs, and how two runs compare."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from plsc.export.tolerance import Agreement, Tolerance
from plsc.files.onnx_file import BATCH, Arrays


class Input(NamedTuple):
    """An input's shape, None for each free axis, and dtype; axis 0 is the batch if it is free."""

    shape: tuple[int | None, ...]
    dtype: str

    def axes(self, name: str) -> tuple[int | str, ...]:
        """Return the shape with a name for each free axis, as an ONNX file has it."""
        names = [BATCH, *(f"{name}_{axis}" for axis in range(1, len(self.shape)))]
        return tuple(
            free if size is None else size for size, free in zip(self.shape, names, strict=True)
        )


class Words(NamedTuple):
    """Names that messages give to things.

    Attributes:
        network: the network itself.
        outputs: what it gives.
        samples: what it takes, one row of a batch each.
        remedy: goes behind the network where paddle2onnx cannot convert it: what would help.

    """

    network: str = "network"
    outputs: str = "outputs"
    samples: str = "samples"
    remedy: str = ""


class Comparison(Protocol):
    """Decides whether a file's outputs are near enough to the network's."""

    def compare(
        self, expected: Arrays, found: Arrays, *, rows: Mapping[str, str], fp16: bool
    ) -> Agreement:
        """Compare `found` with `expected`, which has the same names and finite values.

        Args:
            expected: the network's outputs.
            found: the file's; of equal shape but for the first axis of the outputs in `rows`.
            rows: as in ExportSpec.
            fp16: weights of the file are float16.

        """
        ...


class Transform(Protocol):
    """A change to a finished ONNX file, which then takes or gives something else."""

    def apply(self, path: Path) -> None:
        """Change the file at `path`."""
        ...

    def inputs(self, count: int) -> Arrays:
        """Return what the changed file takes for the samples of ExportSpec.probes(count)."""
        ...

    def outputs(self, arrays: Arrays) -> Arrays:
        """Return what the changed file gives where the network gives `arrays`."""
        ...


@dataclass(frozen=True)
class ExportSpec:
    """All that export and evaluation by ONNX Runtime know of a network.

    Attributes:
        inputs: name -> shape and dtype, in the order of `forward`'s arguments.
        outputs: names in the order of what `forward` returns, a nest read leaf by leaf; if it
            returns a dict, its keys in the order that the file has.
        probes: number of samples -> inputs by name, the same at each call.
        metadata: what the file says of itself.
        comparison: how two runs are compared.
        rows: output whose number of rows depends on the data -> name of that axis, as of the boxes
            that an image happens to have. Outputs with one name have one row each for a thing.
        batches: numbers of samples that are compared.
        num_probes: different samples; larger batches repeat them, and the network's outputs are
            repeated likewise. None where outputs are not one row for each sample.
        transform: what is done to an ONNX file when it is finished.
        words: what messages call things.
        summary: what goes in and comes out, for a line of the log.
        notes: lines for the log about what the file leaves out.
        fixed_batch: the only number of samples that the file takes; None for any.

    """

    inputs: Mapping[str, Input]
    outputs: tuple[str, ...]
    probes: Callable[[int], Arrays]
    metadata: Mapping[str, str] = field(default_factory=dict)
    comparison: Comparison = Tolerance()
    rows: Mapping[str, str] = field(default_factory=dict)
    batches: tuple[int, ...] = (1, 5)
    num_probes: int | None = None
    transform: Transform | None = None
    words: Words = Words()
    summary: str = ""
    notes: tuple[str, ...] = ()
    fixed_batch: int | None = None

    def as_written(self) -> "ExportSpec":
        """Return the spec of the file, whose batch is `fixed_batch` where that is given."""
        batch = self.fixed_batch
        if batch is None:
            return self
        inputs = {
            name: Input((batch, *given.shape[1:]), given.dtype) if not given.shape[0] else given
            for name, given in self.inputs.items()
        }
        return replace(self, inputs=inputs, batches=(batch,), num_probes=batch)

    def axes(self) -> dict[str, tuple[int | str, ...]]:
        """Return each input's shape with names for its free axes."""
        return {name: given.axes(name) for name, given in self.inputs.items()}

    def first_axes(self) -> dict[str, str]:
        """Return the name that each output's first axis has if it is free."""
        return {name: self.rows.get(name, BATCH) for name in self.outputs}

    def described(self) -> str:
        """Return `summary`, or one made of names and shapes."""
        if self.summary:
            return self.summary
        given = (f"{name} [{', '.join(map(str, axes))}]" for name, axes in self.axes().items())
        return f"input {', '.join(given)}, output {', '.join(self.outputs)}"

    def given(self, count: int) -> dict[str, NDArray[Any]]:
        """Return what the finished file takes for the samples of `probes(count)`."""
        return dict(self.transform.inputs(count) if self.transform else self.probes(count))
