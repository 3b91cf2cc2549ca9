"""`plsc-data align`: photos and landmarks -> crops for training, verification and recognition."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from plsc.cli.options import add_data_workers, add_shared, workers_of
from plsc.data.lists.landmark_list import LandmarkList, read_landmarks
from plsc.datatools.crop import CropFormat, CropResults, write_crops
from plsc.datatools.crop_sheet import write_sheet
from plsc.errors import UserError
from plsc.files.atomic import require_writable

POOR_FIT = 12.0  # pixels of 112: more than a face in profile has
HELP = "photos and five landmarks of each face -> 112x112 crops"
DESCRIPTION = """Cut faces out of photos, upright and of the size that backbones take: turned,
scaled and shifted so that five landmarks come nearest to their standard places.

LIST has a line per face: the image's path, then x and y in pixels of the left eye, the right eye,
the nose, the left and the right corner of the mouth - left and right as one sees the image. Columns
stand between tabs, commas or blanks. A header, if there is one, names them (path, left_eye_x, ...
or path, x1, y1, ...); columns beyond these are not read. A crop has the path of its image, so a
folder per person stays one.

Landmarks refer to the photo as OpenCV shows it, turned as its EXIF orientation says. A detector
that was given PIL.Image.open without ImageOps.exif_transpose has seen it otherwise."""
EXAMPLES = """examples:
  plsc-data align --landmarks photos/landmarks.csv --output_dir faces --sheet faces.png
  plsc-data align --landmarks IJBC/meta/ijbc_name_5pts_score.txt --image_root IJBC/loose_crop \\
                  --output_dir IJBC/aligned --format png --on_bad skip --json"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    add = parser.add_argument
    add("--landmarks", required=True, metavar="LIST", help="image and five landmarks per line")
    add("--output_dir", required=True, metavar="DIR", help="a new folder for the crops")
    add_shared(parser, "image_root", help="the folder that paths begin in (LIST's own)")
    add_shared(parser, "size", default=112, help="side of a crop in pixels (%(default)s)")
    add("--format", choices=["jpg", "png"], default="jpg", help="format of the crops (%(default)s)")
    add_shared(parser, "quality", help="JPEG quality, 1 to 100 (%(default)s)")
    add_shared(
        parser,
        "on_bad",
        help="a face that cannot be used ends the command, or is counted and listed (%(default)s)",
    )
    add_shared(parser, "sheet", help="picture of the first crops and their landmarks")
    add("--sheet_faces", type=int, default=64, metavar="N", help="faces in --sheet (%(default)s)")
    add_data_workers(parser)
    add_shared(parser, "json")


def run(options: argparse.Namespace) -> int:
    """Run the subcommand, return its exit status; a mistake leaves nothing of the output."""
    workers = workers_of(options)
    if options.sheet and not options.sheet.lower().endswith(".png"):
        raise UserError(f"--sheet must end in .png, got {options.sheet!r}")
    if options.sheet:
        require_writable(options.sheet)
    if options.sheet_faces < 1:
        raise UserError(f"--sheet_faces must be at least 1, got {options.sheet_faces}")
    crops = CropFormat(size=options.size, format=options.format, quality=options.quality)
    faces = read_landmarks(options.landmarks)
    cropped = write_crops(
        faces,
        options.output_dir,
        image_root=options.image_root or os.path.dirname(options.landmarks) or ".",
        crops=crops,
        workers=workers,
        skip=options.on_bad == "skip",
    )
    if options.sheet:
        shown = list(zip(cropped.names, cropped.rows, strict=True))[: options.sheet_faces]
        files = [(Path(options.output_dir, name), faces.points[row]) for name, row in shown]
        write_sheet(options.sheet, files, size=crops.size)
    report = _report(options.output_dir, crops, faces, cropped)
    print(json.dumps(report) if options.json else _text(report, cropped))
    if report["misfit_median"] > POOR_FIT:
        print(
            f"plsc-data: warning: {faces.file}: the landmarks are not placed as in faces: is their "
            "order left eye, right eye, nose, left and right corner of the mouth, x before y?",
            file=sys.stderr,
        )
    return 0


def _report(
    output_dir: str, crops: CropFormat, faces: LandmarkList, cropped: CropResults
) -> dict[str, Any]:
    """Return the figures; `misfit` is in pixels of 112."""
    return {
        "output_dir": output_dir,
        "size": crops.size,
        "num_written": len(cropped.rows),
        "num_skipped": len(cropped.skipped),
        "misfit_median": round(float(np.median(cropped.misfits)), 3),
        "num_poor_fits": int((cropped.misfits > POOR_FIT).sum()),
        "skipped": [
            {"line": faces.lines[row], "path": faces.paths[row], "reason": reason}
            for row, reason in cropped.skipped.items()
        ],
    }


def _text(report: dict[str, Any], cropped: CropResults) -> str:
    size = report["size"]
    lines = [
        f"{report['output_dir']}: {report['num_written']} crops of {size}x{size}, "
        f"{report['num_skipped']} faces skipped",
        f"landmarks off their standard places: {report['misfit_median']:.1f} pixels of 112 in the "
        f"median; more than {POOR_FIT:.0f}, as no face in profile: {report['num_poor_fits']} faces",
        *(f"skipped: {reason}" for reason in cropped.skipped.values()),
    ]
    # Names of files need not be text in any encoding.
    return "\n".join(lines).encode(errors="backslashreplace").decode()
