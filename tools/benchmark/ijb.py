"""Seconds and memory of IJB-C's templates, scores and table, on a release made on the spot.

    python tools/benchmark/ijb.py                   IJB-C's full size: 469,375 faces, 15.7 M pairs
    python tools/benchmark/ijb.py --scale 0.05 --json
    python tools/benchmark/ijb.py --plain           beside it, the same in straightforward numpy

The release needs 2.5 GB of disk at full size (--temporary says where) and a minute to make; it has
lists and embeddings, no images. What is measured runs in a process of its own, without them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from turns import forget_peak, held  # noqa: E402

from plsc.files.row_store import BLOCK, RowStore  # noqa: E402
from plsc.recognition.ijb.protocol import read_release  # noqa: E402
from plsc.recognition.metrics.ijb import FPR_TARGETS, pair_scores, tpr_at_fpr  # noqa: E402
from plsc.recognition.metrics.roc import roc_curve  # noqa: E402
from plsc.recognition.metrics.templates import pool_templates  # noqa: E402

FACES, TEMPLATES, PAIRS, SAME_PAIRS, PEOPLE, GALLERY = 469375, 23124, 15658489, 19557, 3531, 3531
FACES_OF_MEDIUM = 4
NOISE = np.float32(12)  # of an embedding, whose own part is 1: a TPR that is neither 0 nor 1
LINES_AT_ONCE = 1 << 18
PLAIN_CHUNK = 100000  # pairs
Result = TypeVar("Result")


def make(folder: Path, scale: float, dim: int, pairs: str) -> None:
    """Write the lists of a release and embeddings of its faces."""
    random = np.random.default_rng(0)
    count = {
        name: max(least, round(full * scale))
        for name, full, least in [
            ("faces", FACES, 200), ("templates", TEMPLATES, 50), ("pairs", PAIRS, 2000),
            ("same", SAME_PAIRS, 40), ("people", PEOPLE, 8), ("gallery", GALLERY, 10),
        ]
    }  # fmt: skip
    rest = random.integers(0, count["templates"], count["faces"] - count["templates"])
    template = np.sort(np.concatenate([np.arange(count["templates"]), rest]))
    person = random.permutation(np.arange(count["templates"]) % count["people"])
    _write_faces(folder, template, random)
    _write_pairs(folder, person, count, pairs, random)
    about = {"made": "by tools/benchmark/ijb.py"}
    file = RowStore(folder / "embeddings", (count["faces"], 2, dim), about)
    centres = random.standard_normal((count["people"], dim), np.float32)
    with file.filling():
        for start in range(0, count["faces"], BLOCK):
            rows = np.arange(start, min(start + BLOCK, count["faces"]))
            noise = NOISE * random.standard_normal((len(rows), dim), np.float32)
            own = centres[person[template[rows]]]
            file.write(rows, np.stack([own + noise, own + noise[:, ::-1]], axis=1))


def _write_faces(folder: Path, template: np.ndarray, random: np.random.Generator) -> None:
    for name in ("meta", "loose_crop"):
        (folder / name).mkdir()
    medium = (np.arange(len(template)) // FACES_OF_MEDIUM).tolist()
    scores = random.uniform(0.3, 1, len(template)).tolist()
    with open(folder / "meta/ijbc_face_tid_mid.txt", "w") as file:
        for number, (one, other) in enumerate(zip(template.tolist(), medium, strict=True), 1):
            file.write(f"{number}.jpg {one + 1} {other}\n")
    with open(folder / "meta/ijbc_name_5pts_score.txt", "w") as file:
        for number, score in enumerate(scores, 1):
            file.write(
                f"{number}.jpg 38.3 51.7 73.5 51.5 56 71.7 41.5 92.4 70.7 92.2 {score:.6f}\n"
            )


def _write_pairs(
    folder: Path, person: np.ndarray, count: dict[str, int], pairs: str, random: np.random.Generator
) -> None:
    """Pairs of any two templates; or of a few with the rest, in their order, as IJB-C's are."""
    size, total = len(person), count["pairs"]
    if pairs == "gallery":
        first = np.sort(random.integers(0, count["gallery"], total))
        second = random.integers(count["gallery"], size, total)
    else:
        first, second = random.integers(0, size, (2, total))
    order = np.argsort(person, kind="stable")  # neighbours in it are of one person, mostly
    at = random.integers(0, size - 1, count["same"])
    chosen = random.choice(total, count["same"], replace=False)
    first[chosen], second[chosen] = order[at], order[at + 1]
    same = person[first] == person[second]
    with open(folder / "meta/ijbc_template_pair_label.txt", "w") as file:
        for start in range(0, total, LINES_AT_ONCE):
            part = slice(start, start + LINES_AT_ONCE)
            columns = (first[part] + 1, second[part] + 1, same[part].astype(np.int8))
            rows = zip(*(column.tolist() for column in columns), strict=True)
            file.write("".join(["%d %d %d\n" % row for row in rows]))  # noqa: UP031 - the fastest


class Meter:
    """Seconds and peak memory (bytes / 1e9) of parts of the work."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, float]] = {}

    def __call__(self, part: str, work: Callable[[], Result]) -> Result:
        """Return what `work` returns."""
        forget_peak()
        began = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - began
        self.parts[part] = {
            "seconds": round(seconds, 2),
            "peak_gigabytes": round(held("VmHWM") / 1e9, 2),
        }
        return result


def measure(folder: Path, dim: int) -> dict[str, Any]:
    """Measure what `plsc-ijb` does once the embeddings are there."""
    meter = Meter()
    release = meter("reading the lists", lambda: read_release(folder, "IJBC"))
    faces, pairs = release.faces, release.pairs
    file = RowStore(folder / "embeddings", (len(faces), 2, dim), {})
    templates = meter(
        "pooling",
        lambda: pool_templates(
            file, faces.templates, faces.media, detector_scores=faces.detector_scores
        ),
    )
    scores = meter("scoring", lambda: pair_scores(templates, pairs.first, pairs.second))
    points = meter("table", lambda: tpr_at_fpr(roc_curve(scores, pairs.same)))
    np.save(folder / "scores.npy", scores)
    return {
        "faces": len(faces),
        "templates": len(templates.ids),
        "pairs": len(scores),
        "parts": meter.parts,
        "tpr_at_fpr": {str(point.target): point.tpr for point in points},
    }


def measure_plain(folder: Path) -> dict[str, Any]:
    """Measure what scripts do: all in memory, a search per template, a product per pair."""
    release, meter = read_release(folder, "IJBC"), Meter()
    faces, pairs = release.faces, release.pairs
    views = np.load(folder / "embeddings" / "embeddings.npy")
    vectors = meter(
        "pooling",
        lambda: _plain_pooling(
            views.sum(axis=1) * faces.detector_scores[:, None].astype(np.float32),
            faces.templates,
            faces.media,
        ),
    )
    scores = meter("scoring", lambda: _plain_scores(vectors, faces, pairs))
    tpr = meter("table", lambda: _plain_table(scores, pairs.same))
    difference = float(np.abs(scores - np.load(folder / "scores.npy")).max())
    return {"parts": meter.parts, "tpr_at_fpr": tpr, "largest_score_difference": difference}


def _plain_pooling(features: np.ndarray, templates: np.ndarray, media: np.ndarray) -> np.ndarray:
    ids = np.unique(templates)
    vectors = np.zeros((len(ids), features.shape[1]), np.float32)
    for place, template in enumerate(ids):
        rows = np.flatnonzero(templates == template)
        means = [features[rows[media[rows] == m]].mean(axis=0) for m in np.unique(media[rows])]
        vectors[place] = np.sum(means, axis=0)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _plain_scores(vectors: np.ndarray, faces: Any, pairs: Any) -> np.ndarray:
    ids = np.unique(faces.templates)
    first, second = np.searchsorted(ids, pairs.first), np.searchsorted(ids, pairs.second)
    scores = np.zeros(len(first), np.float32)
    for start in range(0, len(first), PLAIN_CHUNK):
        part = slice(start, start + PLAIN_CHUNK)
        scores[part] = np.sum(vectors[first[part]] * vectors[second[part]], axis=1)
    return scores


def _plain_table(scores: np.ndarray, same: np.ndarray) -> dict[str, float]:
    order = np.argsort(scores, kind="stable")[::-1]
    scores, same = scores[order].astype(np.float64), same[order].astype(np.float64)
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    tps = np.cumsum(same)[ends]
    fps = 1 + ends - tps
    bends = (np.diff(fps, 2) != 0) | (np.diff(tps, 2) != 0)
    kept = np.concatenate([[True], bends, [True]])
    fpr = np.append(0, fps[kept])[::-1] / fps[-1]
    tpr = np.append(0, tps[kept])[::-1] / tps[-1]
    return {str(x): float(tpr[np.argmin(np.abs(fpr - x))]) for x in FPR_TARGETS}


def _in_a_process(folder: Path, kind: str, dim: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", kind, str(folder), str(dim)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def _text(report: dict[str, Any]) -> str:
    size = "{faces:,} faces, {templates:,} templates, {pairs:,} pairs, {dim} numbers each"
    lines = [size.format(**report), f"{'':20}{'seconds':>10}{'peak GB':>10}"]
    for title, parts in (("", report["parts"]), ("plain", report.get("plain", {}).get("parts"))):
        for name, figures in (parts or {}).items():
            label = f"{title} {name}".strip()
            lines.append(f"{label:20}{figures['seconds']:10.2f}{figures['peak_gigabytes']:10.2f}")
    lines.append(
        f"pooling, scoring and table: {report['seconds']:.2f} s, {report['peak_gigabytes']:.2f} GB"
    )
    if "plain" in report:
        plain = report["plain"]
        lines.append(
            f"in straightforward numpy: {plain['seconds']:.2f} s, "
            f"{plain['peak_gigabytes']:.2f} GB; scores differ by "
            f"{plain['largest_score_difference']:.1e}, the table is "
            f"{'the same' if plain['tpr_at_fpr'] == report['tpr_at_fpr'] else 'another'}"
        )
    return "\n".join(lines)


def _totals(report: dict[str, Any]) -> dict[str, float]:
    parts = [report["parts"][name] for name in ("pooling", "scoring", "table")]
    return {
        "seconds": round(sum(part["seconds"] for part in parts), 2),
        "peak_gigabytes": max(part["peak_gigabytes"] for part in parts),
    }


def main() -> None:
    """Make the release, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of IJB-C's size (1.0)")
    parser.add_argument("--dim", type=int, default=512, help="numbers of an embedding (512)")
    parser.add_argument(
        "--pairs",
        choices=["gallery", "all"],
        default="gallery",
        help="of a gallery's templates with probes', as IJB-C's; or of any, which is harder",
    )
    parser.add_argument("--plain", action="store_true", help="also measure straightforward numpy")
    parser.add_argument("--json", action="store_true", help="one JSON line")
    parser.add_argument("--temporary", metavar="DIR", help="where to make the release")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        kind, folder, dim = options.measure
        plain = kind == "plain"
        figures = measure_plain(Path(folder)) if plain else measure(Path(folder), int(dim))
        print(json.dumps(figures))
        return
    with tempfile.TemporaryDirectory(dir=options.temporary) as name:
        print("making the release", file=sys.stderr, flush=True)
        make(Path(name), options.scale, options.dim, options.pairs)
        report = {"dim": options.dim, **_in_a_process(Path(name), "plsc", options.dim)}
        report |= _totals(report)
        if options.plain:
            plain_report = _in_a_process(Path(name), "plain", options.dim)
            report["plain"] = plain_report | _totals(plain_report)
    print(json.dumps(report) if options.json else _text(report))


if __name__ == "__main__":
    main()
