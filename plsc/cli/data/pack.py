"""`plsc-data pack`: a folder per identity, a list or record files -> a RecordIO set."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from plsc.cli.options import add_data_workers, add_shared, add_source, source_of, workers_of
from plsc.data.sets.base import BadImage, ImageSource
from plsc.data.sets.folder import FolderImages
from plsc.data.transforms.standard import decode
from plsc.datatools.identities import IDENTITIES, write_identities
from plsc.datatools.preparation import SIDE, Preparation
from plsc.datatools.record_set import PackingOrder, pack_records, packing_order, survey
from plsc.errors import UserError
from plsc.files.atomic import new_folder

MOST_SIDE = 4096  # pixels
INSIGHTFACE, IM2REC = "insightface", "im2rec"
SKIPPED = "skipped.txt"
LISTED = 10  # faults that are shown
HELP = "folder per identity, list or .rec -> train.rec, train.idx, property"
DESCRIPTION = f"""Pack images into a new folder, in the layout of InsightFace's public sets:
  train.rec        record 0 (labels A,B), images 1 to A-1 in the order of their classes, and one
                   record per identity, A to B-1, with the keys of its images
  train.idx        key<TAB>byte offset
  property         num_classes,height,width
  {IDENTITIES}   class<TAB>name: the identities' folders, or with --relabel their old classes

Image files are packed as they are, byte for byte, unless --size changes them. Each is decoded once,
and must be whole and of {SIDE}x{SIDE} pixels (of --size, after resizing). Equal input gives equal
files. Folders: classes are the folders' places in the order of their names, images in the order of
their file names. Lists: images of one class keep the list's order.

--shuffle writes the images in random order into the file, so that a read from its beginning to its
end has them mixed; keys, classes, record 0 and identity records are the same, so that a reader by
key finds no difference. Readers that take every record of a file for an image (DALI's
readers.mxnet) need --layout im2rec too: images alone, with keys from 0 on.

Record files hold classes as float32, exact below 2^24 = 16777216: more are refused. Above 2^24
images A, B and the keys in identity records are rounded, as in all such sets; plsc needs none."""
EXAMPLES = f"""examples:
  plsc-data pack people/ sets/mine               one folder of aligned faces per identity
  plsc-data pack people/ sets/mine --size {SIDE} --on_bad skip
  plsc-data pack label.txt sets/mine --image_root images/
  plsc-data pack faces/train.rec sets/dali --shuffle --layout im2rec
then set DataLoader.Train.dataset: {{name: FaceRecordDataset, root: sets/mine}}, and Model.class_num
to the number of classes that is printed. `plsc-data check sets/mine` tells what else is wrong."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    add_source(parser)
    parser.add_argument("output", metavar="OUTPUT_DIR", help="a new folder")
    parser.add_argument("--name", default="train", help="of NAME.rec and NAME.idx (%(default)s)")
    add_shared(
        parser,
        "size",
        metavar="S",
        help="resize other images to SxS pixels, as JPEG (off: they are refused)",
    )
    add_shared(parser, "quality", help="JPEG quality of the resized images (%(default)s)")
    parser.add_argument("--no_check", action="store_true", help="do not decode images: faster")
    add_shared(
        parser,
        "on_bad",
        help=f"bad images: stop, or leave out, count and list them in {SKIPPED} (%(default)s); to "
        "skip, all images are read before the first is written",
    )
    parser.add_argument(
        "--relabel", action="store_true", help="number the classes anew, without gaps"
    )
    parser.add_argument("--shuffle", action="store_true", help="images in random order in the file")
    add_shared(parser, "seed", help="another seed, another order (0)")
    parser.add_argument(
        "--layout",
        choices=(INSIGHTFACE, IM2REC),
        default=INSIGHTFACE,
        help="im2rec: no record 0, no identity records (%(default)s)",
    )
    add_data_workers(parser)
    add_shared(parser, "json")


def run(options: argparse.Namespace) -> int:
    """Run the subcommand, return its exit status; a mistake leaves nothing of the output."""
    preparation = _preparation(options)
    workers = workers_of(options)
    source = source_of(options)  # before there is a new folder, which may lie in it
    with new_folder(options.output) as folder:
        labels, faults = survey(
            source, preparation, skip=options.on_bad == "skip", num_workers=workers
        )
        try:
            places = packing_order(labels, relabel=options.relabel)
        except UserError as error:
            raise UserError(f"{options.source}: {error}") from error
        _describe(folder, source, places, options, faults)
        written = pack_records(
            folder / f"{options.name}.rec",
            source,
            places,
            preparation,
            header=options.layout == INSIGHTFACE,
            shuffle_seed=(options.seed or 0) if options.shuffle else None,
            num_workers=workers,
        )
    num_classes = len(places.starts) - 1
    report = {
        "output": options.output,
        "num_image": len(places.rows),
        "num_classes": num_classes,
        "Model.class_num": num_classes,
        "rearranged": places.rearranged,
        "resized": written.resized,
        "stretched": written.stretched,
        "num_skipped": len(faults),
        "skipped": faults,
    }
    _show(report, json_wanted=options.json)
    return 0


def _preparation(options: argparse.Namespace) -> Preparation:
    if options.size is not None and not 1 <= options.size <= MOST_SIDE:
        raise UserError(f"--size must be from 1 to {MOST_SIDE}, got {options.size}")
    if not 1 <= options.quality <= 100:
        raise UserError(f"--quality must be from 1 to 100, got {options.quality}")
    if not options.name or options.name != Path(options.name).name:
        raise UserError(f"--name must be a file's name without its ending, got {options.name!r}")
    if options.seed is not None and (options.seed < 0 or not options.shuffle):
        raise UserError(f"--seed must be at least 0, and is for --shuffle, got {options.seed}")
    for other in ("size", "on_bad"):
        if options.no_check and getattr(options, other) not in (None, "error"):
            raise UserError(
                f"--no_check: --{other} has to decode the images: leave one of them out"
            )
    return Preparation(size=options.size, quality=options.quality, check=not options.no_check)


def _describe(
    folder: Path,
    source: ImageSource,
    places: PackingOrder,
    options: argparse.Namespace,
    faults: list[str],
) -> None:
    """Write what lies beside the records."""
    height, width = _extent(source, places, options)
    num_classes = len(places.starts) - 1
    (folder / "property").write_text(f"{num_classes},{height},{width}\n", encoding="ascii")
    if names := _names(source, places):
        write_identities(folder / IDENTITIES, names)
    if faults:
        lines = "".join(f"{fault}\n" for fault in faults)
        (folder / SKIPPED).write_text(lines, encoding="utf-8", errors="surrogateescape")


def _extent(
    source: ImageSource, places: PackingOrder, options: argparse.Namespace
) -> tuple[int, int]:
    """Return height and width for `property`; the first image's if none was looked at."""
    if not options.no_check:
        side = SIDE if options.size is None else options.size
        return side, side
    row = int(places.rows[0])
    try:
        pixels = decode(source.read(row)[0])
    except BadImage as error:
        raise BadImage(f"{source.where(row)}: {error}") from error
    return pixels.shape[0], pixels.shape[1]


def _names(source: ImageSource, places: PackingOrder) -> list[str]:
    """Return what the classes are called in the source; nothing if it has only these numbers."""
    originals = places.originals
    if isinstance(source, FolderImages):
        if originals is None:
            return list(source.identities)
        return [source.identities[label] for label in originals.tolist()]
    return [] if originals is None else [str(label) for label in originals.tolist()]


def _show(report: dict[str, Any], *, json_wanted: bool) -> None:
    if json_wanted:
        print(json.dumps(report))
        return
    for name in ("num_image", "num_classes", "Model.class_num"):
        print(f"{name}: {report[name]}")
    if report["resized"]:
        print(f"resized: {report['resized']}")
    if report["num_skipped"]:
        print(f"skipped: {report['num_skipped']} (all of them in {SKIPPED})")
        for fault in report["skipped"][:LISTED]:
            print(f"  {fault}")
    if report["rearranged"]:
        print("note: images were brought into the order of their classes", file=sys.stderr)
    if report["stretched"]:
        print(
            f"note: {report['stretched']} images were not square and are stretched now; "
            "plsc-data align crops faces without",
            file=sys.stderr,
        )
