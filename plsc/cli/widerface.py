"""`plsc-widerface`: average precision of anybody's predictions on WIDER FACE."""

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from plsc.cli.options import new_parser
from plsc.cli.status import exit_status
from plsc.data.lists.image_root import shown
from plsc.detection.widerface.average_precision import Matches
from plsc.detection.widerface.ground_truth import SETS, MarkedImage, read_ground_truth
from plsc.detection.widerface.predictions import names_in, read_prediction
from plsc.errors import UserError
from plsc.files.atomic import require_writable, write_output
from plsc.files.progress import progress_bar

LISTED = 5  # names shown of a longer list
NOTHING = np.zeros((0, 5))
REMARKS = {
    "missing": "have no file and count as without a detection",
    "not_in_ground_truth": "are not in the ground truth and do not count",
}
DESCRIPTION = """Score a folder of predictions on WIDER FACE's validation set by the official rules:
AP of Easy, Medium and Hard at IoU 0.5.

Predictions are `<event>/<image>.txt`: a name, the number of boxes, and a line `x y width height
score` for each. A file that is missing counts as no detection, and is named. The ground truth is
the folder with wider_face_val.mat and wider_{easy,medium,hard}_val.mat.

What sizes the images had when boxes were sought in them is not in the files: AP of a detector by
one protocol (long side 640, original size, several scales) says nothing beside that by another."""
EXAMPLES = """examples:
  plsc-widerface --predictions widerface_txt/ --ground-truth eval_tools/ground_truth/
  plsc-widerface --predictions widerface_txt/ --ground-truth ground_truth/ --json ap.json

Exit status: 0 scored, whatever the figures; 2 something is to be mended (said in one line)."""


def score(images: list[MarkedImage], predictions: str) -> dict[str, Any]:
    """Return AP of the three sets, counts, and names of what was missing.

    Args:
        images: the ground truth.
        predictions: the folder.

    Raises:
        UserError: it is none, or a file is damaged.

    """
    there = names_in(predictions)
    matches, missing, num_boxes = Matches(), [], 0
    with progress_bar(len(images), "images") as bar:
        for image in images:
            boxes = NOTHING
            if (image.event, image.name) in there:
                boxes = read_prediction(f"{predictions}/{image.event}/{image.name}.txt")
            else:
                missing.append(f"{image.event}/{image.name}")
            matches.add(image, boxes)
            num_boxes += len(boxes)
            bar.update()
    if len(missing) == len(images):
        raise UserError(
            f"{shown(predictions)}: has a file for none of the {len(images)} images, not even "
            f"{missing[0]}.txt"
        )
    curves = {key: matches.curve(key) for key in SETS}
    known = {(image.event, image.name) for image in images}
    return {
        **{key: curve.average_precision for key, curve in curves.items()},
        "num_faces": {key: curve.num_faces for key, curve in curves.items()},
        "num_images": len(images),
        "num_predictions": num_boxes,
        "missing": missing,
        "not_in_ground_truth": sorted("/".join(name) for name in there - known),
        "protocol": {"iou": 0.5, "sizes": "as the predictions were made"},
    }


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = new_parser("plsc-widerface", description=DESCRIPTION, examples=EXAMPLES)
    add = parser.add_argument
    add("--predictions", required=True, metavar="DIR", help="<event>/<image>.txt below it")
    add("--ground-truth", required=True, metavar="DIR", help="folder of the four .mat files")
    add("--json", metavar="OUT", help="write AP, counts and names of missing files there")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command; see `build_parser` for its options.

    Raises:
        UserError: a folder or file that cannot be used.

    """
    if options.json:
        require_writable(options.json)
    began = time.perf_counter()
    found = score(read_ground_truth(options.ground_truth), options.predictions)
    seconds = time.perf_counter() - began
    if options.json:
        write_output(options.json, json.dumps(found, indent=1) + "\n")
    for key in SETS:
        print(f"{key.capitalize():<7} AP {found[key]:.4f}  ({found['num_faces'][key]:,} faces)")
    print(
        f"{found['num_images']:,} images, {found['num_predictions']:,} predictions, IoU 0.5, "
        f"{seconds:.1f} s"
    )
    for key, what in REMARKS.items():
        names = found[key]
        if names:
            more = ", ..." if len(names) > LISTED else ""
            print(f"{len(names):,} images {what}: {', '.join(names[:LISTED])}{more}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return exit_status("plsc-widerface", lambda: run(build_parser().parse_args(argv)))
