"""Figures of the quality experiment: who was measured, correlations, curves; as data and text."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plsc.data.transforms.degrade import KINDS
from plsc.quality.rank_correlation import spearman, spearman_interval
from plsc.recognition.metrics.roc import far_name
from plsc.recognition.metrics.tables import aligned

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


def comparisons(faces: Mapping[str, np.ndarray], count: int) -> str:
    """A list of pairs of the held-out pictures, half of them of one person, none twice.

    More than the pairs that were rendered: the rarer an error, the more impostors it takes.
    `count` is at most the pairs of one person that there are.
    """
    rng, found = np.random.default_rng(0), dict[tuple[int, int], bool]()
    people = [np.flatnonzero(faces["person"] == person) for person in np.unique(faces["person"])]
    for same in (True, False):
        wanted = len(found) + count // 2
        while len(found) < wanted:
            first, second = rng.choice(len(people), 2, replace=False)
            if same:
                pair = rng.choice(people[first], 2, replace=False)
            else:
                pair = np.array([rng.choice(people[first]), rng.choice(people[second])])
            found[(int(pair.min()), int(pair.max()))] = same
    names = faces["path"]
    return "".join(f"{names[a]}\t{names[b]}\t{int(same)}\n" for (a, b), same in found.items())


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
    """Return the magnitudes' quantiles over all held-out pictures."""
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
    None where there is no error at the start, or no share at which enough impostors are left.
    """
    fnmrs = [point["fnmr"] for point in curve["points"]]
    resolved = [point["reject"] for point in curve["points"] if point["resolved"]]
    summary = {key: curve[key] for key in ("model", "measure", "fmr", "threshold", "ended")}
    summary |= {"rejects": [point["reject"] for point in curve["points"]], "fnmr": fnmrs}
    summary["resolved_to"] = max(resolved, default=None)
    for name in ("area", "partial_area"):
        mean = curve[name]["mean_fnmr"]
        summary |= {name: mean, f"relative_{name}": mean / fnmrs[0] if fnmrs[0] else None}
    return summary


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
    lines.append("error versus reject; 0: FNMR with none rejected; then as shares of that: left at")
    lines.append("20 and 50 % rejected, mean over 0 to 20 and 0 to 95 %")
    head = ["FMR", "threshold", "rejected by", "network", "0", "20 %", "50 %", "to 20 %", "to 95 %"]
    curves = sorted(result["curves"], key=lambda c: (-c["fmr"], c["threshold"], c["measure"]))
    lines.append(aligned([head, *map(_row, curves)]))
    accuracies = [f"{name} {result['accuracy'][name]['accuracy']:.4f}" for name in networks]
    lines.append(f"verification accuracy, none rejected: {'   '.join(accuracies)}")
    return "\n".join(lines)


def _row(curve: Mapping[str, Any]) -> list[str]:
    fnmrs = dict(zip((round(share, 2) for share in curve["rejects"]), curve["fnmr"], strict=True))
    whole = fnmrs[0]
    shares = [fnmrs[at] / whole if whole and at in fnmrs else None for at in (0.2, 0.5)]
    shares += [curve["relative_partial_area"], curve["relative_area"]]
    cells = [far_name(curve["fmr"]), curve["threshold"], curve["measure"], curve["model"]]
    cells += [f"{whole:.3f}", *("-" if share is None else f"{share:.3f}" for share in shares)]
    return [*cells, f"ends: {curve['ended']}"] if curve["ended"] else cells


def json_of(results: Sequence[Mapping[str, Any]]) -> str:
    """All seeds' figures as JSON, five digits each, a list of numbers in one line."""

    def rounded(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: rounded(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [rounded(item) for item in value]
        return float(f"{value:.5g}") if isinstance(value, float) else value

    text = json.dumps({"seeds": rounded(results)}, indent=1)
    lists = re.compile(r"\[\s+([^][{}\"]+?)\s+\]")
    return lists.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"
