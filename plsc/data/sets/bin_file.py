"""LFW-style `.bin` files: a pickle of encoded images and of whether pairs match."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plsc.errors import UserError, short
from plsc.files.unpickle import load_arrays


def read_bin(path: str | Path) -> tuple[list[bytes], np.ndarray]:
    """Return the 2P encoded images and, bool [P], whether images 2i and 2i + 1 are of one person.

    Raises:
        UserError: the file is missing, truncated, holds anything but data, or does not have two
            images for each pair.

    """
    content = load_arrays(path)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise UserError(f"{path}: must hold images and pair labels, not {type(content).__name__}")
    images, issame = content
    if not isinstance(images, list | tuple) or not isinstance(issame, list | tuple | np.ndarray):
        kinds = f"{type(images).__name__} and {type(issame).__name__}"
        raise UserError(f"{path}: must hold a list of images and one of pair labels, not {kinds}")
    if len(images) != 2 * len(issame) or not len(issame):
        raise UserError(
            f"{path}: {len(images)} images for {len(issame)} pairs, must be two for each"
        )
    labels = []
    for number, label in enumerate(issame):
        if not isinstance(label, bool | int | np.bool_ | np.integer) or label not in (0, 1):
            raise UserError(
                f"{path}: label of pair {number} must be True or False, got {short(label)}"
            )
        labels.append(bool(label))
    return _all_encoded(images, path), np.array(labels)


def _all_encoded(images: Sequence[Any], path: str | Path) -> list[bytes]:
    """Return the bytes of each; an array that is named many times is copied once."""
    known: dict[int, bytes] = {}
    for number, image in enumerate(images):
        if id(image) not in known:
            known[id(image)] = _encoded(image, number, path)
    return [known[id(image)] for image in images]


def _encoded(image: Any, number: int, path: str | Path) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, bytearray):
        return bytes(image)
    if isinstance(image, np.void) or (isinstance(image, np.ndarray) and image.dtype == np.uint8):
        return image.tobytes()
    raise UserError(
        f"{path}: image {number} must be an image file's bytes, not {type(image).__name__}"
    )
