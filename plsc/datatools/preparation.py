"""Image files as they enter a set: whole, and of one size."""

from dataclasses import dataclass

import cv2

from plsc.data.sets.base import BadImage, ImageSource
from plsc.data.transforms.standard import decode

SIDE = 112  # pixels, of an aligned face


@dataclass(frozen=True)
class Preparation:
    """A check and a change of image files on their way into the set.

    Attributes:
        size: side in pixels that other images are resized to; None refuses them.
        quality: of the JPEG that a resized image becomes.
        check: decode each image, which resizing needs; else nothing is looked at.

    """

    size: int | None = None
    quality: int = 95
    check: bool = True

    def __call__(self, encoded: bytes) -> tuple[bytes, bool, bool]:
        """Return the file to write, whether it was resized, and whether it changed its proportions.

        Raises:
            BadImage: it is no whole image, or has another size than it must have.

        """
        if not self.check:
            if not encoded:
                raise BadImage("the image is empty")
            return encoded, False, False
        pixels = decode(encoded, to_rgb=False)
        height, width = pixels.shape[:2]
        side = SIDE if self.size is None else self.size
        if height == width == side:
            return encoded, False, False
        if self.size is None:
            raise BadImage(
                f"the image is {width}x{height} (width x height), must be {side}x{side}: align the "
                f"faces first (plsc-data align), or resize aligned ones with --size {side}"
            )
        shrinks = height > side or width > side
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(pixels, (side, side), interpolation=method)
        jpeg = cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
        return jpeg.tobytes(), True, height != width


def prepared(
    source: ImageSource, row: int, preparation: Preparation
) -> tuple[tuple[bytes, bool, bool], int]:
    """Return what `preparation` makes of image `row`, and its class.

    Raises:
        BadImage: it cannot be read or used; names the image.

    """
    encoded, label = source.read(row)
    try:
        return preparation(encoded), label
    except BadImage as error:
        raise BadImage(f"{source.where(row)}: {error}") from error
