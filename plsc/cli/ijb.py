"""`plsc-ijb`: a model on IJB-B or IJB-C, from the release's folder to table, scores and plot."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plsc.cli.options import (
    add_flip,
    add_input_options,
    add_shared,
    add_workers,
    check_work,
    embedder_of,
    new_parser,
)
from plsc.cli.status import exit_status
from plsc.errors import UserError
from plsc.files.atomic import output_file, write_output
from plsc.files.row_store import RowStore
from plsc.inference.quality_calibration import SAME
from plsc.quality.scores import quality_scores
from plsc.recognition.ijb.extract import embed_faces
from plsc.recognition.ijb.protocol import TARGETS, Target, image_stamps, read_release
from plsc.recognition.ijb.results import Results, evaluate
from plsc.recognition.ijb.roc_plot import draw_roc
from plsc.recognition.ijb.tables import about_templates, search_table, tpr_table
from plsc.recognition.metrics.templates import POOLINGS, Pooling
from plsc.report.figures import INSTALL, can_draw

USUAL_POOLING: Pooling = "magnitude"
SOME_FACES = 1024  # tell whether all embeddings are of one length
DESCRIPTION = """Measure a model on IJB-B or IJB-C: verification 1:1 (TPR at FPR), and search 1:N
where the protocol's gallery and probe files are there.

The folder of the release, as InsightFace packs it:
  loose_crop/<name>                        images
  meta/ijbc_face_tid_mid.txt               image, template, medium
  meta/ijbc_name_5pts_score.txt            image, five landmarks, detector score
  meta/ijbc_template_pair_label.txt        template, template, 1 if one person
  meta/ijbc_1N_gallery_G1.csv, _G2.csv, ijbc_1N_probe_mixed.csv     for 1:N; or beside meta
(ijbb_... and S1, S2 for IJB-B)"""
EXAMPLES = """examples:
  plsc-ijb --model-root model.onnx --image-path IJB_release/IJBC --target IJBC
  plsc-ijb --model-root output/IResNet50/best_model --image-path IJB_release/IJBB --target IJBB

Embeddings are kept in RESULT_DIR/<target>_result/embeddings as they are computed: a run that was
ended goes on there, and the same model needs none anew. Scores of the pairs go to
RESULT_DIR/<target>_result/<target>.npy, the figures to <target>.json, the ROC curve to
<target>_roc.png and .pdf; <target> is IJBC, with another --pooling IJBC_<pooling>.

--pooling says what of a template's faces is added up; embeddings need not be computed anew:
  magnitude   embeddings as the model gives them, so that longer ones count more: InsightFace's way
  mean        embeddings at length 1, so that all faces count alike
  media       as the model gives them, then the mean of each medium (photo, video) at length 1
  score       at length 1, weighted by the quality score of each face's magnitude; the model needs a
              calibration: plsc-quality MODEL REFERENCE --calibrate

MagFace's protocol has neither mirror images nor detector scores: --no-flip --no-detector-score
with --pooling magnitude is its magface_qlt 1, with --pooling media its magface_qlt 0."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return exit_status("plsc-ijb", lambda: run(build_parser().parse_args(argv)))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; names of options are those of InsightFace's and PLSC's scripts."""
    parser = new_parser("plsc-ijb", description=DESCRIPTION, examples=EXAMPLES)
    add = parser.add_argument
    add("--model-root", required=True, metavar="MODEL", help=".onnx file, a folder with one, or "
        "a checkpoint")  # fmt: skip
    add("--image-path", required=True, metavar="DIR", help="folder of the release")
    add("--result-dir", default="./output", metavar="DIR", help="for results (%(default)s)")
    add("--target", choices=TARGETS, default="IJBC", help="which benchmark (%(default)s)")
    add_shared(parser, "batch_size", default=128)
    text = "processes that decode and align (%(default)s, the cores available); 0 for none"
    add_workers(parser, help=text)
    text = "sum: add the embeddings of the mirrored images (%(default)s)"
    add_flip(parser, default="sum", help=text)
    add("--no-detector-score", action="store_true", help="do not weigh faces by detector scores")
    add("--pooling", choices=POOLINGS, help="of faces to templates, see below (magnitude)")
    add_shared(parser, "provider")
    add_shared(parser, "json", help="print the figures as one JSON object")
    add_input_options(parser)
    return parser


def run(options: argparse.Namespace) -> None:
    """Do what the options say.

    Raises:
        UserError: a mistake in options, model or release; embeddings that were computed are kept.

    """
    check_work(options)
    flip = options.flip == "sum"
    target: Target = options.target
    folder = _result_folder(Path(options.result_dir), target)
    options.model = model_path(options.model_root)
    release = read_release(options.image_path, target)
    stamps = image_stamps(release.images, release.faces)
    embedder = embedder_of(options, batch_size=options.batch_size)
    pooling: Pooling = options.pooling or USUAL_POOLING
    quality = quality_scores(embedder) if pooling == "score" else None
    began = time.perf_counter()
    embeddings, num_embedded = embed_faces(
        release.faces,
        release.images,
        stamps,
        embedder,
        folder / "embeddings",
        flip=flip,
        batch_size=options.batch_size,
        num_workers=options.num_workers,
    )
    seconds = {"embedding": round(time.perf_counter() - began, 3)}
    _say(
        f"{num_embedded} of {len(release.faces)} faces embedded, "
        f"{len(release.faces) - num_embedded} kept in {embeddings.folder}"
    )
    if options.pooling in ("magnitude", "score"):
        _say_if_of_one_length(embeddings, pooling)
    results = evaluate(
        release,
        embeddings,
        flip=flip,
        detector_score=not options.no_detector_score,
        pooling=pooling,
        quality=quality,
    )
    report = {
        "target": target,
        "model": options.model,
        "model_digest": embedder.digest,
        "flip": flip,
        "detector_score": not options.no_detector_score,
        "pooling": pooling,
        "num_faces": len(release.faces),
        "num_faces_embedded": num_embedded,
        **results.to_dict(),
        "seconds": seconds | dict(results.seconds),
    }
    name = target if pooling == USUAL_POOLING else f"{target}_{pooling}"
    files = write_results(folder, name, results, report)
    if options.json:
        print(json.dumps(report))
    else:
        _print_tables(name, results, report, files)


def _print_tables(
    name: str, results: Results, report: dict[str, Any], files: Sequence[Path]
) -> None:
    print(tpr_table(f"{name}.npy-{report['target']}", results.points))
    if results.searches:
        print(search_table(results.searches))
    print(about_templates(report))
    for file in files:
        print(_printable(str(file)))


def model_path(root: str) -> str:
    """Return the model that `--model-root` means: of a folder with one .onnx file, that file.

    Raises:
        UserError: a folder with several.

    """
    models = sorted(Path(root).glob("*.onnx")) if Path(root).is_dir() else []
    if len(models) > 1:
        names = ", ".join(path.name for path in models[:4])
        raise UserError(f"--model-root: {root} has {len(models)} models ({names}): name one")
    return str(models[0]) if models else root


def _say_if_of_one_length(embeddings: RowStore, pooling: Pooling) -> None:
    lengths = np.linalg.norm(embeddings[:SOME_FACES][:, 0], axis=1)
    if np.ptp(lengths) <= SAME * lengths.max():
        _say(
            f"--pooling {pooling} makes no difference: embeddings have length "
            f"{lengths.mean():.4g}, so the model says nothing of quality"
        )


def write_results(folder: Path, name: str, results: Results, report: dict[str, Any]) -> list[Path]:
    """Write scores, figures and, where matplotlib is there, the ROC curve, as `name`; the files.

    Raises:
        UserError: the system refuses to write.

    """
    scores, figures = folder / f"{name}.npy", folder / f"{name}.json"
    plots = [folder / f"{name}_roc.{ending}" for ending in ("png", "pdf")]
    with output_file(scores) as partial:
        np.save(partial, results.scores)
    write_output(figures, json.dumps(report, indent=1) + "\n")
    if not can_draw():
        _say(f"no ROC picture: matplotlib is missing: {INSTALL}")
        return [scores, figures]
    title = f"{report['target']}, 1:1, {Path(report['model']).stem}, pooling {report['pooling']}"
    draw_roc(results.curve, results.points, plots, title=title)
    return [scores, figures, *plots]


def _result_folder(result_dir: Path, target: Target) -> Path:
    folder = result_dir / f"{target}_result"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--result-dir: {folder} cannot be made: {error.strerror}") from error
    return folder


def _say(text: str) -> None:
    print(f"plsc-ijb: {_printable(text)}", file=sys.stderr, flush=True)


def _printable(text: str) -> str:
    """Return a text that can be printed: names of files need not be text in any encoding."""
    return text.encode(errors="backslashreplace").decode()
