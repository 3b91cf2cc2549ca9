"""`plsc-data unpack`: the image files of a record file or of a `.bin` set."""

import argparse
import json
from pathlib import Path

from plsc.cli.data.show_records import single_rec_file
from plsc.cli.options import add_data_workers, add_shared, workers_of
from plsc.data.sets.image_file import ending_of
from plsc.datatools.extract import (
    Naming,
    extract_pairs,
    extract_records,
    flat_name,
    summary,
    summary_text,
)
from plsc.datatools.identities import IDENTITIES, read_identities
from plsc.errors import UserError
from plsc.files.atomic import new_folder

HELP = ".rec or .bin -> image files and their list"
DESCRIPTION = f"""Write the images of a .rec file as they are, byte for byte, into a new folder:
  OUTPUT_DIR/images/00000001.jpg ...  named by key (.png, .bmp, .webp if that is what it holds)
  OUTPUT_DIR/label.txt                lines: path<TAB>class, in the order of the keys
or, with --folders, one folder per identity and no list:
  OUTPUT_DIR/IDENTITY/00000001.jpg    IDENTITY: from {IDENTITIES} beside the .rec file (written
                                      by `plsc-data pack`), else the class in seven digits
Pairs of a .bin file become PNG files (images/00000000_0.png, ..._1.png) and label.txt with lines
path<TAB>path<TAB>1 for one person, 0 for two."""
EXAMPLES = """examples:
  plsc-data unpack faces/train.rec faces_images
  plsc-data unpack faces/ faces_by_person --folders
  plsc-data unpack faces/lfw.bin lfw_images"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's options."""
    parser.add_argument(
        "source", metavar="SOURCE", help="a .rec file, a folder with one, or a .bin file"
    )
    parser.add_argument("output", metavar="OUTPUT_DIR", help="a new folder")
    parser.add_argument("--folders", action="store_true", help="one folder per identity")
    add_data_workers(parser)
    add_shared(parser, "json")


def run(options: argparse.Namespace) -> int:
    """Run the subcommand, return its exit status; a mistake leaves nothing of the output."""
    workers, source = workers_of(options), Path(options.source)
    if source.suffix == ".bin":
        if options.folders:
            raise UserError(f"--folders: {source} holds pairs, which have no identities")
        with new_folder(options.output) as folder:
            num_pairs = extract_pairs(source, folder, num_workers=workers)
        report = {"output": options.output, "num_pairs": num_pairs}
        print(json.dumps(report) if options.json else f"num_pairs: {num_pairs}")
        return 0
    path = single_rec_file(source)
    name = folder_names(path) if options.folders else flat_name
    with new_folder(options.output) as folder:
        labels = extract_records(
            path, folder, name=name, num_workers=workers, listed=not options.folders
        )
    if options.json:
        print(json.dumps({"output": options.output, **summary(labels)}))
    else:
        print(summary_text(labels), end="")
    return 0


def folder_names(path: Path) -> Naming:
    """Return the path of an image below the folder of its identity.

    Names are taken only if their order is that of the classes: a folder's class is its place in the
    order of names, and should be what it was.
    """
    names = read_identities(path.with_name(IDENTITIES))
    if names != sorted(set(names)):
        names = []

    def name(key: int, label: int, image: bytes) -> str:
        identity = names[label] if label < len(names) else f"{label:07d}"
        return f"{identity}/{key:08d}{ending_of(image) or '.jpg'}"

    return name
