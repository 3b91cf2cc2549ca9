"""A model's figures on some verification sets, as text and as JSON."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from plsc import __version__
from plsc.files.atomic import write_output
from plsc.recognition.metrics.tables import set_tables, threshold_table
from plsc.recognition.metrics.verification import VerificationReport

CAUTION = (
    "A threshold keeps its false accept rate on photos like those of its set; on others, measure "
    "it anew."
)
STDOUT = "-"


class ImageFiles(Protocol):
    """Image files by number; 2i and 2i + 1 are pair i."""

    def read(self, index: int) -> bytes:
        """The image file."""

    def where(self, index: int) -> str:
        """The image's place for messages."""


@dataclass(frozen=True)
class ModelCard:
    """Which model was measured, and what its images were made into.

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
    images: ImageFiles


def tables(reports: Sequence[VerificationReport]) -> str:
    """The tables of sets, then the thresholds of each."""
    return "\n\n".join([set_tables(reports), *map(threshold_table, reports), CAUTION])


def to_dict(card: ModelCard, reports: Sequence[VerificationReport]) -> dict[str, Any]:
    """Everything but curves and pictures, as JSON has it."""
    return {
        "plsc": __version__,
        "model": asdict(card),
        "sets": [report.to_dict() for report in reports],
    }


def write_json(target: str, figures: dict[str, Any]) -> None:
    """Write `figures` to the file `target`, or to standard output if it is `-`.

    Raises:
        UserError: the system refuses.

    """
    text = json.dumps(figures, indent=1) + "\n"
    if target == STDOUT:
        sys.stdout.write(text)
        return
    write_output(target, text)
