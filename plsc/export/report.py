"""What an export says of itself: what was written, and how near it is to the backbone."""

from dataclasses import dataclass
from pathlib import Path

# Figures of float32 on another engine: relative differences below 1e-5 were seen. A scale or a bias
# that got lost costs orders of magnitude more.
MIN_COSINE = 0.9999
MAX_RELATIVE_DIFFERENCE = 1e-3
MAX_HALF_DIFFERENCE = 0.02  # of float16 weights: what that cosine allows


@dataclass(frozen=True)
class BatchCheck:
    """How far a file's embeddings are from the backbone's on one batch, and how far they may."""

    batch: int
    min_cosine: float
    max_difference: float
    largest_value: float
    max_relative: float = MAX_RELATIVE_DIFFERENCE

    @property
    def equal(self) -> bool:
        """Whether the difference is one of rounding."""
        close = self.max_difference <= self.max_relative * self.largest_value
        return close and self.min_cosine >= MIN_COSINE

    def __str__(self) -> str:
        """The check in a few words."""
        return (
            f"batch {self.batch}: cosine {self.min_cosine:.7f}, largest difference "
            f"{self.max_difference:.2g} of {self.largest_value:.2g}"
        )


@dataclass(frozen=True)
class ExportReport:
    """What was written and how it was found equal to the backbone.

    Attributes:
        path: the file; of Paddle's format, the program.
        num_bytes: its size, the weights included.
        opset: ONNX operator set; None for Paddle's format.
        num_features: the embedding's size.
        checks: one per batch size.
        latency: seconds that one image takes on this machine's CPU.
        preprocessing: none, or the layout of the uint8 images that the file takes.
        fp16: whether weights are stored as float16.

    """

    path: Path
    num_bytes: int
    opset: int | None
    num_features: int
    checks: tuple[BatchCheck, ...]
    latency: float
    preprocessing: str = "none"
    fp16: bool = False

    def __str__(self) -> str:
        """Sizes, speed and checks on one line."""
        shape = "[N, 112, 112, 3]" if self.preprocessing == "nhwc" else "[N, 3, 112, 112]"
        pixels = "" if self.preprocessing == "none" else "uint8 RGB "
        length = " of length 1" if pixels else ""
        weights = " with float16 weights" if self.fp16 else ""
        opset = f"opset {self.opset}, " if self.opset else ""
        return (
            f"{opset}input {pixels}{shape}, output [N, {self.num_features}]{length}, "
            f"{self.num_bytes / 1e6:.1f} MB{weights}, "
            f"{self.latency * 1e3:.1f} ms at batch 1 on this CPU; "
            f"{'; '.join(map(str, self.checks))}"
        )
