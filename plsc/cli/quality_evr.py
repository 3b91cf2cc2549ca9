"""`plsc-quality evr`: what rejecting the pictures of worst quality gains, on verification sets."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plsc.cli.options import embedder_of
from plsc.cli.quality_evr_options import Task, build_parser, checked_task
from plsc.cli.status import exit_status
from plsc.data.lists.image_root import shown
from plsc.data.sets.pairs import PairSet
from plsc.errors import UserError
from plsc.files.atomic import write_output
from plsc.quality.evr_plot import draw_curves
from plsc.quality.evr_results import Line, SetCurves, curves_of, text_of
from plsc.quality.measures import (
    IMAGE_MEASURES,
    MAGNITUDE,
    RANDOM,
    magnitude,
    measure_images,
    random,
)
from plsc.recognition.embedder import Embedder
from plsc.recognition.metrics.angular import angles
from plsc.recognition.set_embedding import embed_pairs
from plsc.report.figures import INSTALL, can_draw


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return exit_status("plsc-quality evr", lambda: run(build_parser().parse_args(argv)))


def run(options: argparse.Namespace) -> None:
    """Do what the options say.

    Raises:
        UserError: a mistake in options, models, sets or tables.

    """
    task = checked_task(options)
    folder = Path(options.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out: {folder} cannot be made: {error.strerror}") from error
    embedders = {
        name: embedder_of(
            argparse.Namespace(**vars(options), model=path), batch_size=options.batch_size
        )
        for name, path in task.models.items()
    }
    about = [
        {"name": name, "path": task.models[name], "digest": item.digest, "notes": item.info.notes}
        for name, item in embedders.items()
    ]
    reports, files = [], []
    for name, pairs in task.sets.items():
        found = measure_set(name, pairs, embedders, task, options)
        report = found.to_dict() | {"models": about}
        files += write_results(folder, found, report)
        reports.append(report)
        if not options.json:
            print(text_of(found), end="\n\n", flush=True)
    written = [str(file) for file in files]
    print(
        json.dumps({"sets": reports, "files": written})
        if options.json
        else "\n".join(map(shown, written))
    )


def measure_set(
    name: str,
    pairs: PairSet,
    embedders: Mapping[str, Embedder],
    task: Task,
    options: argparse.Namespace,
) -> SetCurves:
    """Return the curves of one set; with progress on standard error.

    Raises:
        UserError: an image, a model's embedding or a measure cannot be used.

    """
    _say(f"{name}: {len(pairs.issame)} pairs")
    known: dict[str, NDArray[np.float64]] = {table.name: table.of(pairs) for table in task.tables}
    # A table may be called as a measure here that was not asked for, such as another's magnitude.
    own = [measure for measure in task.measures if measure not in known]
    wanted = [measure for measure in own if measure in IMAGE_MEASURES]
    if RANDOM in own:
        known[RANDOM] = random(len(pairs))
    if wanted:
        _say(f"{name}: {', '.join(wanted)}")
        known |= measure_images(pairs, wanted, num_workers=options.num_workers)
    lines: list[Line] = []
    flip = options.flip == "sum"
    for model, embedder in embedders.items():
        _say(f"{name}: embeddings of {model}")
        views = embed_pairs(
            pairs,
            embedder,
            flip=flip,
            resize=options.resize,
            num_workers=options.num_workers,
        )
        rows = views.astype(np.float64).sum(axis=1)
        qualities = {MAGNITUDE: magnitude(views[:, 0])} | known
        try:
            lines += curves_of(
                angles(rows),
                pairs.issame,
                {measure: qualities[measure] for measure in task.measures},
                model=model,
                fmrs=task.fmrs,
                fixed=task.fixed,
            )
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    return SetCurves(name, pairs.issame, flip, task.fmrs, task.fixed, lines, options.partial)


def write_results(folder: Path, found: SetCurves, report: dict[str, Any]) -> list[Path]:
    """Write a set's figures and, where matplotlib is there, its plot; the files' names.

    Raises:
        UserError: the system refuses to write.

    """
    stem = folder / f"{found.name}_evr"
    figures = stem.with_name(f"{stem.name}.json")
    plots = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "pdf")]
    write_output(figures, json.dumps(report, indent=1) + "\n")
    if not can_draw():
        _say(f"no plot: matplotlib is missing: {INSTALL}")
        return [figures]
    draw_curves(found, plots)
    return [figures, *plots]


def _say(text: str) -> None:
    print(f"plsc-quality evr: {text}", file=sys.stderr, flush=True)
