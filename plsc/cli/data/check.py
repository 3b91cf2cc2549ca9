"""`plsc-data check`: whether a set is fit to train on, and what is to be done if not."""

import argparse
import json
from collections.abc import Sequence

import numpy as np

from plsc.cli.data import marked as of_marked
from plsc.cli.options import add_data_workers, add_shared, add_source, source_of, workers_of
from plsc.data.lists.image_root import shown
from plsc.data.sets.base import ImageSource
from plsc.data.sets.marked import open_marked
from plsc.data.sets.open import open_pairs, open_source
from plsc.data.transforms.align import FACE_SIZE
from plsc.datatools.checks.duplicates import equal_rows
from plsc.datatools.checks.findings import (
    DUPLICATE_ACROSS,
    DUPLICATE_INSIDE,
    LABEL_BEYOND,
    LEAK,
    MISSING_LABELS,
    SINGLE_IMAGE,
    UNUSED_CLASSES,
    Findings,
)
from plsc.datatools.checks.image_facts import ImageFacts, examine_images
from plsc.datatools.checks.image_sets import ImageSet, ImageSets
from plsc.errors import UserError
from plsc.files.atomic import require_writable, write_output

SHOWN_CLASSES = 5
HELP = "whether a set is fit to train on, and what is to be done if not"
DESCRIPTION = """Decode every image as training does; say what is wrong and what is to be done:
  faults    images that are cut short, blank or of another size; classes that do not fit; pictures
            that several identities have, or that a set to verify with has, too
  warnings  identities with one image; pictures that one identity has twice
Of photographs with marked faces (WIDER FACE's lists, RetinaFace's label.txt): faces outside of
their image, without a size or marked twice, landmarks far outside, pictures there twice."""
EXAMPLES = """examples:
  plsc-data check faces/train.rec --class_num 93431 --val lfw.bin agedb_30.bin
  plsc-data check people/ --report findings.json

Exit status: 0 fit to train on (there may be warnings), 1 not fit, 2 the check itself failed."""


def check(
    source: ImageSource,
    verification: Sequence[ImageSet] = (),
    *,
    path: str = "",
    class_num: int | None = None,
    size: int = FACE_SIZE,
    num_workers: int = 0,
) -> Findings:
    """Return all that is wrong with a training set.

    Args:
        source: the training images.
        verification: images that must not be among them.
        path: what the user calls `source`.
        class_num: of the config, if known; else the source's own number of classes is taken.
        size: side in pixels that images must have.
        num_workers: processes; 0 looks at the images in this one.

    """
    findings = Findings()
    sets = ImageSets([ImageSet.of_source(path, source), *verification])
    facts = examine_images(sets, findings, size=size, num_workers=num_workers)
    # Labels that the source knows hold for images that cannot be read, too.
    labels = facts.labels[: len(source)] if source.labels is None else source.labels
    _check_labels(labels, source.num_classes, class_num, sets, findings)
    _check_equal_images(labels, facts, sets, findings)
    return findings


def _check_labels(
    labels: np.ndarray,
    own_class_num: int | None,
    class_num: int | None,
    sets: ImageSets,
    findings: Findings,
) -> None:
    classes, rows, counts = np.unique(labels, return_index=True, return_counts=True)
    known = classes >= 0
    classes, rows, counts = classes[known], rows[known], counts[known]
    top = max(int(classes.max(initial=-1)) + 1, own_class_num or 0)
    if class_num is not None:
        for row in np.flatnonzero(labels >= class_num).tolist():
            findings.add(LABEL_BEYOND, [sets.image(row)], f"class {labels[row]}")
        if class_num > top:
            findings.add(UNUSED_CLASSES, detail=_span(top, class_num - 1), count=class_num - top)
        classes_below = classes[classes < class_num]
        top = min(top, class_num)
    else:
        classes_below = classes
    present = np.concatenate([[-1], classes_below, [top]])
    for gap in np.flatnonzero(np.diff(present) > 1).tolist():
        first, last = int(present[gap]) + 1, int(present[gap + 1]) - 1
        findings.add(MISSING_LABELS, detail=_span(first, last), count=last - first + 1)
    for place in np.flatnonzero(counts == 1).tolist():
        findings.add(SINGLE_IMAGE, [sets.image(int(rows[place]))], f"class {classes[place]}")


def _span(first: int, last: int) -> str:
    return f"class {first}" if first == last else f"classes {first} to {last}"


def _check_equal_images(
    labels: np.ndarray, facts: ImageFacts, sets: ImageSets, findings: Findings
) -> None:
    for group in equal_rows(facts.digests, facts.comparable):
        train = group[group < len(labels)]
        if not len(train):
            continue  # an image may be in several pairs of verification
        images = [sets.image(row) for row in group.tolist()]
        if len(train) < len(group):
            findings.add(LEAK, images)
        if len(train) > 1:
            own = np.unique(labels[train]).tolist()
            kind = DUPLICATE_INSIDE if len(own) == 1 else DUPLICATE_ACROSS
            findings.add(kind, images[: len(train)], _classes(own))
    for kind in (LEAK, DUPLICATE_INSIDE, DUPLICATE_ACROSS):  # they came in the digests' order
        findings.places.get(kind, []).sort(key=lambda place: place.images[0][1])


def _classes(labels: list[int]) -> str:
    if len(labels) == 1:
        return f"class {labels[0]}"
    more = f" and {len(labels) - SHOWN_CLASSES} more" if len(labels) > SHOWN_CLASSES else ""
    return f"classes {', '.join(map(str, labels[:SHOWN_CLASSES]))}{more}"


def verification_set(path: str) -> ImageSet:
    """Return the images of a `.bin` file, a list of pairs, or anything that one can train on.

    Raises:
        UserError: it is none of these, or a damaged one.

    """
    pairs = open_pairs(path)
    return ImageSet.of_source(path, open_source(path) if pairs is None else pairs)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    add_source(parser)
    parser.add_argument(
        "--val",
        nargs="+",
        default=[],
        metavar="SET",
        help="sets to verify with, which must share no image: .bin, list of pairs, folder, ...",
    )
    parser.add_argument("--class_num", type=int, metavar="K", help="Model.class_num of the config")
    text = "side of the images in pixels (%(default)s)"
    add_shared(parser, "size", default=FACE_SIZE, help=text)
    add_shared(parser, "json")
    parser.add_argument("--report", metavar="FILE.json", help="write that object to a file")
    add_data_workers(parser)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status, 1 if the set is not fit to train on."""
    for name in ("class_num", "size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} must be at least 1, got {value}")
    if options.report:
        require_writable(options.report)
    if (marked := open_marked(options.source, options.image_root)) is not None:
        of_marked.refuse_others(options)
        return of_marked.check(marked, options)
    source = source_of(options)
    verification = [verification_set(path) for path in options.val]
    findings = check(
        source,
        verification,
        path=options.source,
        class_num=options.class_num,
        size=options.size,
        num_workers=workers_of(options),
    )
    if options.json or options.report:
        report = {
            "source": options.source,
            "num_images": len(source),
            "verification": [
                {"path": images.path, "num_images": images.num_images} for images in verification
            ],
            "fit": findings.fit,
            "findings": findings.as_json(),
        }
    if options.report:
        write_output(options.report, json.dumps(report, indent=1) + "\n")
    if options.json:
        print(json.dumps(report))
    else:
        print(f"{shown(options.source)}: {len(source)} images\n\n{findings.as_text()}")
    return 0 if findings.fit else 1
