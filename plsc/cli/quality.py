"""`plsc-quality`: how good each picture of a face is, by the length of its embedding."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from plsc.cli.options import (
    add_list_format,
    add_model,
    add_shared,
    add_work,
    check_work,
    embedder_of,
    list_options,
    new_parser,
)
from plsc.cli.status import exit_status
from plsc.data.lists.image_root import shown
from plsc.data.sets.base import ImageSource
from plsc.data.sets.open import are_files, fingerprint, open_files_or_set
from plsc.errors import UserError
from plsc.files.atomic import require_writable
from plsc.inference.image_reader import ImageReader
from plsc.inference.stored_measurements import require_storable
from plsc.quality import reference as references
from plsc.quality import summary as summaries
from plsc.quality.images import name_of_images, require_apart
from plsc.quality.magnitudes import MagnitudeOutput, Magnitudes
from plsc.quality.reference import Reference
from plsc.quality.sheet import Face, require_sheet, sampled, write_quality_sheet
from plsc.recognition.embedder import Embedder
from plsc.recognition.set_embedding import embed_into

DESCRIPTION = """Score how good pictures of faces are for recognition. The length of the embedding
that a MagFace model gives (its magnitude) grows with quality; other losses order images less well.
IMAGES are image files, or one set:
  a folder with one folder of images per identity, or any folder of images
  a list, or a folder with label.txt         lines: path<TAB>class; or MagFace's: path 0 class 0
  a .rec file, or a folder that holds some   MXNet RecordIO
  a verification set, for `evr --csv`        .bin, or a list path<TAB>path<TAB>0 or 1, or LFW's

The CSV has the columns path, magnitude, percentile, score and error. Percentile: the share of a
reference set below this magnitude. Score, 0 to 100: the logistic curve of ISO/IEC 29794-5, on which
a quarter of the reference set lies below 25 and a quarter above 75. The reference is --calibration,
else what --calibrate has stored in the model, else the images at hand, if there are at least 10;
with fewer, percentile and score stay empty.

A run that was killed goes on where it stopped, when it is called again. A CSV of the same model,
images and options is not measured again: another calibration or a sheet takes no time. Any other is
not replaced without --overwrite. Images must be aligned faces (`plsc-data align` makes them). The
model must give embeddings as they are, not of length 1 (export with Export.preprocessing=none)."""
EXAMPLES = """examples:
  plsc-quality magface.onnx faces/ --sheet sheet.png      quality.csv, and a picture to look at
  plsc-quality magface.onnx reference/ --calibrate --out reference.csv
                                                          from now on the model scores by these
  plsc-quality magface.onnx a.png b.png                   a few files: printed, no CSV
  plsc-quality output/IResNet18/best_model train.rec --on-bad skip --calibration C.json
  plsc-quality magface.onnx lfw.bin --out lfw.csv
  plsc-quality evr other.onnx --bin lfw.bin --csv score=lfw.csv
  plsc-quality evr --help                                 error-versus-reject curves: what
                                                          rejecting the worst images gains
                                                          (a model called evr: ./evr)

Exit status: 0 done, 2 something is to be mended (said in one line)."""
DEFAULT_OUT = "quality.csv"


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = new_parser("plsc-quality", description=DESCRIPTION, examples=EXAMPLES)
    add_model(parser)
    add = parser.add_argument
    add("images", metavar="IMAGES", nargs="+", help="image files, or one set")
    add_list_format(parser)
    add("--out", metavar="CSV", help=f"the output ({DEFAULT_OUT}; of image files: none)")
    add("--calibration", metavar="C.json", help="score by this calibration, not by the model's own")
    add(
        "--calibrate",
        action="store_true",
        help="learn the calibration from these images and save it: in --calibration if given, else "
        "in the model's own file",
    )
    add_shared(parser, "sheet", help="draw the faces from worst to best, 60 at most")
    add_work(parser, bad="a line without magnitude that says why")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command; see `build_parser` for its options.

    Raises:
        UserError: wrong options, or a model, images or a calibration that cannot be used.

    """
    _check(options)
    of_list = list_options(options)
    source = open_files_or_set(options.images, **of_list)
    if options.sheet:
        require_apart(options.sheet, options.images)
        if not options.overwrite:
            require_sheet(options.sheet)
    embedder = embedder_of(options, batch_size=options.batch_size)
    info, own_file = embedder.info, options.calibration
    if options.calibrate and own_file is None:
        require_storable(info.kind, "--calibrate without --calibration C.json")
    reference = Reference(None, "none")
    if not options.calibrate:
        reference = references.stored(embedder, own_file)
    kept = options.out or not are_files(options.images)
    about = {
        "digest": embedder.digest,
        "source": fingerprint(options.images, source, **of_list),
        "resize": options.resize,
        "on_bad": options.on_bad,
    }
    with nullcontext("") if kept else tempfile.TemporaryDirectory() as folder:
        output = MagnitudeOutput(
            Path(folder, options.out or DEFAULT_OUT),
            num_images=len(source),
            about=about,
            overwrite=options.overwrite,
        )
        if options.calibrate and own_file is not None and not options.overwrite:
            references.require_own(own_file, output.key)
        measured, before = measure(embedder, source, output, options)
        if not len(measured.usable):
            raise UserError(f"none of {len(source)} images can be used: {measured.errors[0]}")
        if reference.calibration is None:
            learn = references.learned if options.calibrate else references.relative
            reference = learn(measured, info, name_of_images(options.images))
        report: dict[str, Any] = {
            "output": str(output.path) if kept else None,
            "num_present_before": before,
            **summaries.summary(measured, reference),
        }
        model = {"path": options.model, "digest": embedder.digest, "notes": info.notes}
        remarks = {"model": model, "relative_to": report["relative_to"]}
        output.publish(measured, reference.calibration, remarks=remarks)
    report |= {
        "stored_in": _calibrate(options, embedder, reference, output.key),
        "sheet": options.sheet,
    }
    report["model"] = model
    if options.sheet:
        draw(options, embedder, source, measured, reference)
    for note in reference.notes:
        print(f"note: {note}", file=sys.stderr, flush=True)
    print(json.dumps(report) if options.json else summaries.text(report))
    return 0


def measure(
    embedder: Embedder, source: ImageSource, output: MagnitudeOutput, options: argparse.Namespace
) -> tuple[Magnitudes, int]:
    """Return magnitudes of all images, and how many were there before.

    Raises:
        UserError: an image or an embedding cannot be used; what is done is kept.

    """
    before = len(source)
    if not output.whole:
        before = embed_into(
            output,
            source,
            embedder,
            batch_size=options.batch_size,
            resize=options.resize,
            skip=options.on_bad == "skip",
            num_workers=options.num_workers,
        )
    return output.measured(), before


def draw(
    options: argparse.Namespace,
    embedder: Embedder,
    source: ImageSource,
    measured: Magnitudes,
    reference: Reference,
) -> None:
    """Write the contact sheet.

    Raises:
        UserError: an image cannot be read any more, or the picture not be written.

    """
    order = summaries.worst_first(measured)
    places = sampled(len(order))
    reader = ImageReader(embedder.info.size, options.resize)
    faces = []
    for index, row in zip(
        order[places].tolist(), summaries.rows(measured, order[places], reference), strict=True
    ):
        pixels = reader.decode(source.read(index)[0], source.where(index))
        faces.append(Face(pixels, row["magnitude"], row["score"], row["path"]))
    count = f"{len(order)} image{'s' * (len(order) > 1)}"
    if len(faces) < len(order):
        count = f"{len(faces)} of {count}, evenly over the order"
    score = ", right and bar: score 0 to 100" if reference.calibration else ""
    write_quality_sheet(
        options.sheet,
        faces,
        title=f"{count}: worst first, best last, row by row",
        note=f"left: magnitude{score}; {shown(Path(options.model).name)}",
    )


def _calibrate(
    options: argparse.Namespace, embedder: Embedder, reference: Reference, key: str
) -> str | None:
    if not options.calibrate or reference.calibration is None:
        return None
    path, replaced = references.keep(
        reference.calibration,
        embedder,
        options.calibration,
        key=key,
        overwrite=options.overwrite,
    )
    if replaced:
        print(f"note: replaces the calibration of {replaced}", file=sys.stderr, flush=True)
    return str(path)


def _check(options: argparse.Namespace) -> None:
    check_work(options)
    if options.sheet is not None:
        if Path(options.sheet).suffix.lower() != ".png":
            raise UserError(f"--sheet must end in .png, got {options.sheet!r}")
        require_writable(options.sheet)
    if options.calibrate and options.calibration is not None:
        require_writable(options.calibration)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["evr"]:
        from plsc.cli import quality_evr as evr_command

        return evr_command.main(given[1:])
    return exit_status("plsc-quality", lambda: run(build_parser().parse_intermixed_args(given)))
