"""Read image files and arrays as a network takes them: decoded, of one size, RGB."""

import os
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from plsc.data.lists.image_root import shown
from plsc.data.sets.base import BadImage
from plsc.data.sets.files import read_file
from plsc.data.transforms.standard import decode
from plsc.errors import UserError

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageReader:
    """Reads images in the size that a model takes.

    Attributes:
        size: width and height that the model takes.
        resize: bring other images to that size, whatever their shape; else they are refused.

    """

    size: tuple[int, int]
    resize: bool = False

    def decode(self, encoded: bytes, where: str) -> Pixels:
        """Return the image file `encoded` as RGB uint8 [h, w, 3]; `where` names it in messages.

        Raises:
            BadImage: it is not a whole image, or of another size.

        """
        try:
            pixels = decode(encoded)
        except BadImage as error:
            raise BadImage(f"{where}: {error}") from error
        return self.fit(pixels, where)

    def read(self, path: str | os.PathLike[str]) -> Pixels:
        """Return the image file at `path` as RGB uint8 [h, w, 3].

        Raises:
            BadImage: it cannot be read, is not a whole image, or of another size.

        """
        where = shown(os.fspath(path))
        return self.decode(read_file(os.fspath(path), lambda: where), where)

    def fit(self, pixels: Pixels, where: str) -> Pixels:
        """Return `pixels` [h, w, 3] in the model's size.

        Raises:
            BadImage: they have another size, and `resize` is off.

        """
        height, width = pixels.shape[:2]
        if (width, height) == self.size:
            return pixels
        if not self.resize:
            raise BadImage(
                f"{where}: is {width}x{height} (width x height), the model takes "
                f"{self.size[0]}x{self.size[1]}: cosines of faces that are not aligned mean "
                "nothing; align them (plsc-data align), or resize those that are (--resize, "
                "resize=True)"
            )
        shrinks = width > self.size[0] or height > self.size[1]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(pixels, self.size, interpolation=method), np.uint8)


def name_of(image: Any, number: int) -> str:
    """Return what messages call `image`: its path, or which of those given it is."""
    is_path = isinstance(image, str | os.PathLike)
    return shown(os.fspath(image)) if is_path else f"image {number}"


def checked_pixels(image: Any, where: str) -> Pixels:
    """Return `image` if it is uint8 [h, w, 3].

    Raises:
        UserError: it is not.

    """
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,):
        return image
    got = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else repr(image)
    raise UserError(f"{where}: must be a path or an array uint8 [height, width, 3], got {got}")
