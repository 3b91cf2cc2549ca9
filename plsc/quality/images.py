"""Name the images that plsc-quality scores, and keep its contact sheet out of them."""

from collections.abc import Sequence
from pathlib import Path

from plsc.data.lists.image_root import shown
from plsc.data.lists.label_list import LABEL_FILE
from plsc.data.sets.open import are_files, is_plain_folder
from plsc.errors import UserError
from plsc.inference.quality_calibration import NAME_LENGTH


def require_apart(picture: str, images: Sequence[str]) -> None:
    """Refuse to write a picture over an image, or into a folder of images where it would count.

    Raises:
        UserError: `picture` lies among `images`.

    """
    target = Path(picture).resolve()
    for image in images:
        source = Path(image).resolve()
        if source == target or (source in target.parents and is_plain_folder(source)):
            raise UserError(f"{shown(picture)}: lies among the images: choose another folder")


def name_of_images(images: Sequence[str]) -> str:
    """Return the printable one-line name under which a calibration records `images`."""
    if are_files(images):
        return f"{len(images)} image files"
    source = Path(images[0]).resolve()
    if source.name == LABEL_FILE:  # the list of every set has this name, so take its folder's
        source = source.parent
    return shown(source.name)[:NAME_LENGTH]
