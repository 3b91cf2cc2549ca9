"""Name the images that plsc-quality scores, and keep its picture apart from them."""

from collections.abc import Sequence
from pathlib import Path

from plsc.data.lists.image_root import shown
from plsc.data.lists.label_list import LABEL_FILE
from plsc.data.sets.open import are_files, is_plain_folder
from plsc.errors import UserError
from plsc.inference.quality_calibration import NAME_LENGTH


def require_apart(picture: str, images: Sequence[str]) -> None:
    """Refuse to write a picture where it would take the place of an image, or count as one.

    Raises:
        UserError: it would.

    """
    target = Path(picture).resolve()
    for image in images:
        place = Path(image).resolve()
        if place == target or (place in target.parents and is_plain_folder(place)):
            raise UserError(f"{shown(picture)}: lies among the images: name another place for it")


def name_of_images(images: Sequence[str]) -> str:
    """Return what a calibration made of `images` calls them: in one line and printable."""
    if are_files(images):
        return f"{len(images)} image files"
    place = Path(images[0]).resolve()
    if place.name == LABEL_FILE:  # every set's list has this name
        place = place.parent
    return shown(place.name)[:NAME_LENGTH]
