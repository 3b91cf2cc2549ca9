"""Figures of the quality experiment: who was measured, correlations, curves; as data and text."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plsc.data.degrade import KINDS
from plsc.metric.rank_correlation import spearman, spearman_interval
from plsc.metric.roc import far_name

RESAMPLES = 500
QUANTILES = (5, 25, 50, 75, 95)


def held_out(faces: Path) -> dict[str, np.ndarray]:
    """Path, kind, severity and person of the pictures of people never trained on."""
    tables = []
    for name in ("severity.csv", "landmarks.csv"):
        with (faces / name).open(newline="") as file:
            tables.append([row for row in csv.DictReader(file) if row["path"].startswith("val/")])
    spoilt, drawn = tables
    assert [row["path"] for row in spoilt] == [row["path"] for row in drawn]
    return {
        "path": np.array([row["path"].removeprefix("val/images/") for row in spoilt]),
        "kind": np.array([row["kind"] for row in spoilt]),
        "severity": np.array([float(row["severity"]) for row in spoilt]),
        "person": np.array([int(row["person"]) for row in drawn]),
    }


def correlations(faces: dict[str, np.ndarray], magnitude: np.ndarray) -> dict[str, Any]:
    """Spearman's correlation of magnitude and severity with its interval: all, and each kind."""
    found = {}
    for kind in ("all", *KINDS):
        rows = (faces["kind"] == kind) | (kind == "all")
        series = magnitude[rows], faces["severity"][rows]
        low, high = spearman_interval(*series, faces["person"][rows], resamples=RESAMPLES)
        found[kind] = {
            "rho": spearman(*series),
            "low": low,
            "high": high,
            "images": int(rows.sum()),
        }
    return found


def magnitude_quantiles(magnitude: np.ndarray) -> dict[str, float]:
    """Of all held-out pictures."""
    values = np.percentile(magnitude, QUANTILES)
    return {f"p{level}": float(value) for level, value in zip(QUANTILES, values, strict=True)}


def accuracy_of(metrics: Path) -> dict[str, float]:
    """Verification accuracy on the spoilt pairs at the end of the training that `metrics` logs."""
    entries = [json.loads(line) for line in metrics.read_text().splitlines()]
    last = [entry for entry in entries if entry["kind"] == "eval"][-1]
    return {"accuracy": last["metric"], "std": last["std"]}


def curve_summary(curve: Mapping[str, Any]) -> dict[str, Any]:
    """A curve of `plsc-quality evr`: its FNMRs, and its areas as shares of that at 0 rejected.

    Networks whose FNMR differs at the start are compared by the shares: 1 is a useless measure.
    """
    fnmrs = [point["fnmr"] for point in curve["points"]]
    return {
        **{key: curve[key] for key in ("model", "measure", "fmr", "threshold", "ended")},
        "rejects": [point["reject"] for point in curve["points"]],
        "fnmr": fnmrs,
        "resolved_to": max((p["reject"] for p in curve["points"] if p["resolved"]), default=0),
        "mean_fnmr": curve["area"]["mean_fnmr"],
        "relative_area": curve["area"]["mean_fnmr"] / fnmrs[0],
        "relative_partial_area": curve["partial_area"]["mean_fnmr"] / fnmrs[0],
    }


def text_of(result: Mapping[str, Any], networks: Sequence[str]) -> str:
    """One seed's figures for people."""
    lines = ["Spearman's correlation of magnitude and severity, unseen people (95 % interval):"]
    for kind in ("all", *KINDS):
        cells = [result["correlation"][network][kind] for network in networks]
        texts = [
            f"{name} {cell['rho']:+.3f} ({cell['low']:+.3f} to {cell['high']:+.3f})"
            for name, cell in zip(networks, cells, strict=True)
        ]
        lines.append(f"  {kind:<9} {'   '.join(texts)}")
    lines.append("error versus reject: FNMR with none rejected; mean over all shares as part of it")
    for curve in result["curves"]:
        lines.append(
            f"  FMR {far_name(curve['fmr'])} {curve['threshold']:<11} {curve['model']:<8} "
            f"{curve['measure']:<9} {curve['fnmr'][0]:.3f}   x {curve['relative_area']:.3f}"
        )
    accuracies = [f"{name} {result['accuracy'][name]['accuracy']:.4f}" for name in networks]
    lines.append(f"verification accuracy, none rejected: {'   '.join(accuracies)}")
    return "\n".join(lines)
