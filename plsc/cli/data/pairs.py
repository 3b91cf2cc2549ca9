"""`plsc-data pairs`: verification pairs as LFW-style `.bin`, and such a file as list and images."""

import argparse
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from plsc.cli.options import add_data_workers, add_shared, add_source, source_of, workers_of
from plsc.data.lists.image_root import shown
from plsc.data.lists.label_list import LABEL_FILE, pair_lines
from plsc.data.sets.base import BadImage, ImageSource
from plsc.data.sets.image_file import ending_of
from plsc.data.sets.labels import UNKNOWN, labels_of
from plsc.data.sets.open import open_pairs
from plsc.data.sets.pairs import ChosenPairs, PairSet
from plsc.datatools.bin_writer import write_bin
from plsc.datatools.pairing import choose_pairs
from plsc.datatools.preparation import Preparation
from plsc.errors import UserError
from plsc.files.atomic import new_folder, require_writable
from plsc.files.progress import progress_bar

HELP = "verification pairs -> .bin; a .bin -> list and images"
DESCRIPTION = """Make a verification set in LFW's .bin format, of pairs of one person and of two:
  of LFW's pairs.txt and image_root/NAME/NAME_0001.jpg
  of a list, lines path<TAB>path<TAB>0 or 1
  of any set with classes (see plsc-data --help): as many pairs of either kind are chosen
Or take a .bin apart: label.txt (such a list) and the image files as they are."""
EXAMPLES = """examples:
  plsc-data pairs lfw/pairs.txt lfw.bin --image_root lfw_112x112
  plsc-data pairs my_test_people/ test.bin --num_pairs 6000 --seed 1
  plsc-data pairs pairs.tsv test.bin          lines: path<TAB>path<TAB>0 or 1
  plsc-data pairs agedb_30.bin agedb_30/      label.txt and images/

Images must be aligned faces of 112x112 pixels (`plsc-data align` makes them); a model tested on
faces that are not aligned as its training set was loses several per cent."""
DEFAULT_PAIRS = 6000  # as LFW has
MOST_SIDE = 4096


def usable(images: PairSet, *, size: int | None) -> Iterator[bytes]:
    """Yield the image files in order; the same file twice is the same object twice.

    Args:
        images: what to read.
        size: side in pixels that other images are resized to; if not given, all must be 112x112
            and none is changed.

    Raises:
        BadImage: an image cannot be read or decoded, or has another size.

    """
    prepare, held = Preparation(size=size), dict[bytes, bytes]()
    for index in _followed(range(len(images))):
        image, _ = images.read(index)
        key = hashlib.sha256(image).digest()
        if key not in held:
            try:
                held[key], _, _ = prepare(image)
            except BadImage as error:
                raise BadImage(f"{images.where(index)}: {error}") from error
        yield held[key]


def extract(pairs: PairSet, output: str | Path) -> None:
    """Write `label.txt` (path, path, 0 or 1, between tabs) and the image files as they are.

    Raises:
        UserError: `output` is not a new folder, or an image is of no known format.

    """
    with new_folder(output) as folder:
        (folder / "images").mkdir()
        names = []
        for index in _followed(range(len(pairs))):
            image, _ = pairs.read(index)
            ending = ending_of(image)
            if ending is None:
                raise UserError(f"{pairs.where(index)}: no image of a known format")
            names.append(f"images/{index // 2:08d}_{index % 2}{ending}")
            (folder / names[-1]).write_bytes(image)
        (folder / LABEL_FILE).write_text(pair_lines(names, pairs.issame), encoding="ascii")


def choose(source: ImageSource, num_pairs: int, *, seed: int, num_workers: int) -> PairSet:
    """Return pairs of a set with classes, as `choose_pairs` says.

    Raises:
        BadImage: an image cannot be read.
        UserError: as `choose_pairs`.

    """
    labels = labels_of(source, num_workers=num_workers)
    if len(unknown := np.flatnonzero(labels == UNKNOWN)):
        source.read(int(unknown[0]))  # says what is wrong with it
    return ChosenPairs(source, *choose_pairs(labels, num_pairs, seed=seed))


def _followed(items: Iterable[int]) -> Iterator[int]:
    items = list(items)
    with progress_bar(len(items), "images") as bar:
        for item in items:
            yield item
            bar.update()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    add_source(parser)
    parser.add_argument(
        "output", metavar="OUTPUT", help=".bin file to write; a new folder if SOURCE is a .bin"
    )
    parser.add_argument(
        "--num_pairs",
        type=int,
        help=f"pairs to choose from a set with classes (default: {DEFAULT_PAIRS})",
    )
    add_shared(parser, "seed", help="another seed, other pairs (default: 0)")
    text = "resize images that do not have this side, in pixels (usual: 112)"
    add_shared(parser, "size", help=text)
    add_data_workers(parser)
    add_shared(parser, "json")


def run(options: argparse.Namespace) -> int:
    """Run the subcommand, return its exit status; a mistake leaves nothing of the output."""
    if options.size is not None and not 1 <= options.size <= MOST_SIDE:
        raise UserError(f"--size must be from 1 to {MOST_SIDE}, got {options.size}")
    if options.seed is not None and options.seed < 0:
        raise UserError(f"--seed must be at least 0, got {options.seed}")
    apart = options.source.endswith(".bin")
    if apart and options.size is not None:
        raise UserError(f"--size: the images of {options.source} stay as they are")
    if not apart and not options.output.endswith(".bin"):
        raise UserError(f"{options.output}: the output must end in .bin")
    if not apart:
        require_writable(options.output)
    pairs = open_pairs(options.source, options.image_root)
    chosen = {"num_pairs": options.num_pairs, "seed": options.seed}
    if pairs is None:
        pairs = choose(
            source_of(options),
            DEFAULT_PAIRS if options.num_pairs is None else options.num_pairs,
            seed=options.seed or 0,
            num_workers=workers_of(options),
        )
    elif given := [name for name, value in chosen.items() if value is not None]:
        raise UserError(f"--{given[0]} is for sets with classes; {options.source} has its pairs")
    if apart:
        extract(pairs, options.output)
    else:
        write_bin(options.output, usable(pairs, size=options.size), pairs.issame.tolist())
    same = int(pairs.issame.sum())
    report = {
        "output": options.output,
        "num_pairs": len(pairs.issame),
        "num_same": same,
        "num_different": len(pairs.issame) - same,
    }
    if options.json:
        print(json.dumps(report))
    else:
        print(f"{shown(options.output)}: {len(pairs.issame)} pairs, {same} of them of one person")
    return 0
