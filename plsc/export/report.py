"""Report an export: the file that was written, and how near it is to the network."""

from dataclasses import dataclass
from pathlib import Path

from plsc.export.tolerance import Agreement


@dataclass(frozen=True)
class BatchCheck:
    """Agreement of a file's outputs with the network's on one batch."""

    batch: int
    agreement: Agreement

    def __str__(self) -> str:
        """Return the check in a few words."""
        return f"batch {self.batch}: {self.agreement}"


@dataclass(frozen=True)
class ExportReport:
    """The file that was written, and the proof that it equals the network.

    Attributes:
        path: the file; of Paddle's format, the program.
        num_bytes: its size, the weights included.
        opset: ONNX operator set; None for Paddle's format.
        summary: what goes in and comes out.
        checks: one per batch size.
        latency: seconds that one sample takes on this machine's CPU.
        fp16: whether weights are stored as float16.

    """

    path: Path
    num_bytes: int
    opset: int | None
    summary: str
    checks: tuple[BatchCheck, ...]
    latency: float
    fp16: bool = False

    def __str__(self) -> str:
        """Return sizes, speed and checks on one line."""
        weights = " with float16 weights" if self.fp16 else ""
        opset = f"opset {self.opset}, " if self.opset else ""
        batch = self.checks[0].batch if len(self.checks) == 1 else 1  # one check: it is fixed
        return (
            f"{opset}{self.summary}, {self.num_bytes / 1e6:.1f} MB{weights}, "
            f"{self.latency * 1e3:.1f} ms at batch {batch} on this CPU; "
            f"{'; '.join(map(str, self.checks))}"
        )
