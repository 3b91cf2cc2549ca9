"""Parts of a report on verification sets: the model, each set's figures and images."""

from dataclasses import dataclass

from plsc.data.sets.pairs import PairSet
from plsc.recognition.metrics.verification import VerificationReport

CAUTION = (
    "A threshold keeps its false accept rate on photos like those of its set; on others, measure "
    "it anew."
)


@dataclass(frozen=True)
class ModelCard:
    """The model that was measured, and the input that its images were made into.

    Attributes:
        path: as the user named it.
        kind: in words.
        dim: the embedding's size.
        size: width and height of its images in pixels.
        colour_order: "RGB" or "BGR".
        mean: of each colour, in pixels from 0 to 255 and in that order.
        std: likewise; the network is given (pixel - mean) / std.
        notes: where these come from, a line each.
        digest: of the model's file and of this preparation, hex; "" if not taken.

    """

    path: str
    kind: str
    dim: int
    size: tuple[int, int]
    colour_order: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...] = ()
    digest: str = ""


@dataclass(frozen=True, eq=False)
class MeasuredSet:
    """One set: its figures, and its images to look at."""

    report: VerificationReport
    images: PairSet
