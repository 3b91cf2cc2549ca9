"""LFW-style `.bin` files: a pickle of encoded images and of whether pairs match."""

from pathlib import Path
from typing import Any

import numpy as np

from plsc.errors import UserError
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
                f"{path}: label of pair {number} must be True or False, got {label!r:.40}"
            )
        labels.append(bool(label))
    return [_encoded(image, number, path) for number, image in enumerate(images)], np.array(labels)


def _encoded(image: Any, number: int, path: str | Path) -> bytes:
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    if isinstance(image, np.void) or (isinstance(image, np.ndarray) and image.dtype == np.uint8):
        return image.tobytes()
    raise UserError(
        f"{path}: image {number} must be an image file's bytes, not {type(image).__name__}"
    )
