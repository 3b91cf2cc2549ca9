"""Write a detector's figures: a table for each set, and JSON; the protocol stands in both."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from plsc import __version__
from plsc.detection.evaluator import DetectionEvaluator
from plsc.files.atomic import write_output

Measured = Sequence[tuple[DetectionEvaluator, Mapping[str, float]]]
CAUTION = "Figures of different protocols, which search images at different sizes, do not compare."


def to_dict(detector: str, source: str, precision: str, measured: Measured) -> dict[str, Any]:
    """Return all figures as JSON has them."""
    sets = [
        {
            "name": evaluator.name,
            "num_images": len(evaluator.dataset),
            "protocol": evaluator.protocol(),
            "figures": {key: value for key, value in report.items() if key != "metric"},
        }
        for evaluator, report in measured
    ]
    model = {"detector": detector, "source": source, "precision": precision}
    return {"plsc": __version__, "model": model, "sets": sets}


def tables(measured: Measured) -> str:
    """Return a table for each set, for people."""
    parts = []
    for evaluator, report in measured:
        said = ", ".join(f"{key} {value}" for key, value in evaluator.protocol().items())
        lines = [f"{evaluator.name}: {evaluator.size()}; protocol: {said}"]
        lines += [f"  {key:<16} {value:.4f}" for key, value in report.items() if key != "metric"]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, CAUTION])


def write(detector: str, source: str, precision: str, measured: Measured, path: str | None) -> None:
    """Print the tables, and write JSON to `path`; `-` prints it in their place."""
    text = json.dumps(to_dict(detector, source, precision, measured), indent=1) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    print(tables(measured), flush=True)
    if path is not None:
        write_output(path, text)
