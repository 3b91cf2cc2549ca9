"""Summarise a set by the spread of its magnitudes and its worst and best images."""

from typing import Any

import numpy as np

from plsc.data.lists.image_root import shown
from plsc.inference.quality_calibration import MIN_IMAGES
from plsc.quality.magnitudes import Magnitudes
from plsc.quality.reference import Reference

QUANTILES = (0, 5, 25, 50, 75, 95, 100)  # percent
ENDS = 5  # images shown at either end
ALL_SHOWN = 20  # show all images of a set up to this size
ORIGINS = {
    "file": "the calibration file",
    "model": "the model's calibration",
    "images": "these images",
}


def worst_first(measured: Magnitudes) -> np.ndarray:
    """Return the rows of the usable images in order of magnitude; equal ones keep their order."""
    usable = measured.usable
    return usable[np.argsort(measured.magnitudes[usable], kind="stable")]


def summary(measured: Magnitudes, reference: Reference) -> dict[str, Any]:
    """Return the figures as a dictionary for JSON, with all images or the worst and best."""
    order, calibration = worst_first(measured), reference.calibration
    few = len(order) <= ALL_SHOWN
    percent = np.percentile(measured.magnitudes[order], QUANTILES)
    return {
        "num_images": len(measured.paths),
        "num_skipped": len(measured.paths) - len(order),
        "magnitude": {str(at): float(value) for at, value in zip(QUANTILES, percent, strict=True)},
        "relative_to": {
            "origin": reference.origin,
            "set": calibration.set_name if calibration else None,
            "num_images": calibration.num_images if calibration else None,
        },
        "worst": rows(measured, order if few else order[:ENDS], reference),
        "best": [] if few else rows(measured, order[-ENDS:], reference),
    }


def rows(measured: Magnitudes, order: np.ndarray, reference: Reference) -> list[dict[str, Any]]:
    """Return path, magnitude, percentile and score of the images in these rows."""
    lengths, calibration = measured.magnitudes[order], reference.calibration
    columns = (
        [scale(lengths).tolist() for scale in (calibration.percentiles, calibration.scores)]
        if calibration
        else [[None] * len(order)] * 2
    )
    return [
        {"path": measured.paths[row], "magnitude": length, "percentile": percent, "score": score}
        for row, length, percent, score in zip(order, lengths.tolist(), *columns, strict=True)
    ]


def text(report: dict[str, Any]) -> str:
    """Return the report as text."""
    relative_to, skipped = report["relative_to"], report["num_skipped"]
    count = report["num_images"] - skipped
    lines = [f"{count} image{'s' * (count > 1)}" + (f", {skipped} skipped" * bool(skipped))]
    if report["output"]:
        lines[0] = f"{report['output']}: {lines[0]}"
    if report["num_present_before"]:
        lines.append(f"{report['num_present_before']} of them were measured before this run")
    if count >= MIN_IMAGES:  # quantiles of fewer images say less than the images
        values = report["magnitude"].items()
        lines += ["", "".join(f"{_quantile(at):>9}" for at, _ in values)]
        lines += ["".join(f"{value:9.2f}" for _, value in values) + "   magnitude"]
    lines += ["", f"{'magnitude':>9} {'percentile':>10} {'score':>6}  worst to best"]
    lines += [_line(row) for row in report["worst"]]
    if report["best"]:
        lines += [f"{'...':>9}", *map(_line, report["best"])]
    if relative_to["origin"] != "none":
        lines += [
            "",
            f"percentile and score by {ORIGINS[relative_to['origin']]}: {relative_to['set']}, "
            f"{relative_to['num_images']} images; a quarter of those scores below 25, a quarter "
            "above 75",
        ]
    if report["stored_in"]:
        lines.append(f"calibration saved in {report['stored_in']}")
    if report["sheet"]:
        lines.append(f"contact sheet: {report['sheet']}")
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    percent, score = (
        "-" if row[name] is None else f"{row[name]:.1f}" for name in ("percentile", "score")
    )
    return f"{row['magnitude']:9.2f} {percent:>10} {score:>6}  {shown(row['path'])}"


def _quantile(at: str) -> str:
    return {"0": "least", "50": "median", "100": "most"}.get(at, f"{at}%")
