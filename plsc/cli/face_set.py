"""The images that a command is to embed, and how to know them again."""

import argparse
import hashlib
from pathlib import Path
from typing import Any

from plsc.cli.options import source_of
from plsc.data.lists.label_list import LABEL_FILE
from plsc.data.sets.base import ImageSource
from plsc.data.sets.distinct_images import DistinctImages
from plsc.data.sets.loose import folder_images
from plsc.data.sets.paired_images import open_pairs
from plsc.errors import UserError


def open_set(options: argparse.Namespace) -> ImageSource:
    """SOURCE as plsc-data takes it, any folder of images, or the images of a verification set.

    Raises:
        UserError: it is none of these, or a damaged one.

    """
    place = Path(options.source)
    root = options.image_root
    if (options.list_format, options.delimiter) != (None, None) or _holds_records(place):
        return source_of(options)
    if root is None and is_plain_folder(place):
        return folder_images(place)
    if root is not None and place.suffix == ".bin":
        raise UserError(f"--image_root belongs to a list, and {place} is none: leave it out")
    pairs = open_pairs(place, root)
    return source_of(options) if pairs is None else DistinctImages(pairs)


def is_plain_folder(place: Path) -> bool:
    """Whether a folder's images are all that it holds, not what a list or a `.rec` file says."""
    return place.is_dir() and not _holds_records(place) and not (place / LABEL_FILE).is_file()


def _holds_records(place: Path) -> bool:
    return place.suffix == ".rec" or any(place.glob("*.rec"))


def fingerprint(options: argparse.Namespace, source: ImageSource) -> dict[str, Any]:
    """What tells one source from another without a look into its images, as JSON has it.

    Of files: their sizes and time stamps; of folders: the images' names.
    """
    place = Path(options.source).resolve()
    listed = place / LABEL_FILE
    if place.is_file():
        files = [place]
    else:
        files = sorted(place.glob("*.rec")) or [path for path in [listed] if path.is_file()]
    found: dict[str, Any] = {"path": str(place)}
    if files:
        found["files"] = [
            [path.name, stat.st_size, stat.st_mtime_ns]
            for path, stat in ((path, path.stat()) for path in files)
        ]
    else:
        digest = hashlib.sha256()
        for index in range(len(source)):
            digest.update(source.name(index).encode(errors="surrogateescape") + b"\0")
        found["names"] = digest.hexdigest()
    for name in ("image_root", "list_format", "delimiter"):
        if (value := getattr(options, name)) is not None:
            found[name] = str(Path(value).resolve()) if name == "image_root" else value
    return found
