"""The images that plsc-quality is to score: a set as plsc-embed takes it, or files one by one."""

import argparse
import os
from pathlib import Path
from typing import Any

from plsc.cli.face_set import fingerprint, is_plain_folder, open_set
from plsc.data.lists.image_root import shown
from plsc.data.lists.label_list import LABEL_FILE
from plsc.data.sets.base import ImageSource
from plsc.data.sets.named import NamedImages, is_image_name
from plsc.errors import UserError
from plsc.inference.quality_calibration import NAME_LENGTH


def are_files(options: argparse.Namespace) -> bool:
    """Whether IMAGES are image files, not one set of them."""
    images = options.images
    return len(images) > 1 or (is_image_name(images[0]) and not os.path.isdir(images[0]))


def open_images(options: argparse.Namespace) -> tuple[ImageSource, dict[str, Any]]:
    """IMAGES, and what tells them from others without a look into them, as JSON has it.

    Raises:
        UserError: they are not there, none, or damaged.

    """
    if are_files(options):
        named = NamedImages(options.images)
        stats = [(os.path.abspath(path), os.stat(path)) for path in options.images]
        return named, {"files": [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats]}
    of_set = argparse.Namespace(**vars(options), source=options.images[0])
    source = open_set(of_set)
    if not len(source):
        raise UserError(f"{shown(options.images[0])}: holds no images")
    return source, fingerprint(of_set, source)


def require_apart(picture: str, options: argparse.Namespace) -> None:
    """Refuse to write a picture where it would take the place of an image, or count as one.

    Raises:
        UserError: it would.

    """
    target = Path(picture).resolve()
    for image in options.images:
        place = Path(image).resolve()
        if place == target or (place in target.parents and is_plain_folder(place)):
            raise UserError(f"{shown(picture)}: lies among the images: name another place for it")


def name_of_set(options: argparse.Namespace) -> str:
    """What a calibration made of IMAGES calls them: in one line and printable."""
    if are_files(options):
        return f"{len(options.images)} image files"
    place = Path(options.images[0]).resolve()
    if place.name == LABEL_FILE:  # every set's list has this name
        place = place.parent
    return shown(place.name)[:NAME_LENGTH]
