"""Encoded image -> float32 CHW, by the transforms that PLSC's face configs name.

A transform takes the sample that the one before it gave and a generator that is the image's own, so
an image is the same whichever process reads it. A transform that moves pixels moves the places in
the sample too, or refuses them.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from plsc.config.component import components
from plsc.config.registry import TRANSFORMS
from plsc.data.sets.base import BadImage
from plsc.data.transforms.image_size import claimed_size
from plsc.data.transforms.sample import IMAGE, Sample, mirrored_places, refuse_places
from plsc.errors import UserError

DEFAULT_TRANSFORMS: list[Any] = ["DecodeImage", "NormalizeImage", "ToCHWImage"]
JPEG_SIGNATURE, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
MOST_PIXELS = 2**26  # 67 megapixels, 200 MB of colours; most cameras' photographs have fewer
MOST_PASSES = 16  # over all pixels that a progressive JPEG may take; ten are usual
PNG_SIGNATURE, PNG_END = b"\x89PNG", b"IEND"
# Decoders that give RGB save a pass over the image; OpenCV before 4.11 has none.
RGB_FLAG: int = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR)


class Transform(Protocol):
    """One step from an encoded image to the backbone's input."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the next step's sample, and leave `sample` as it is."""


class Compose:
    """Transforms one after the other."""

    def __init__(self, transforms: Sequence[Transform]):
        self.transforms = tuple(transforms)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return what the last transform makes of `sample`."""
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


def build_transforms(transform_ops: Any, key: str = "transform_ops") -> Compose:
    """Return the transforms of a list such as `[{DecodeImage: {to_rgb: True}}, {ToCHWImage: }]`.

    Raises:
        UserError: an unknown name or parameter, or a wrong value; names its place below `key`.

    """
    return Compose([item.build(TRANSFORMS) for item in components(transform_ops, key)])


def _colour_axis(image: np.ndarray, transform: str) -> int:
    """Return 0 or 2: where the three colours of uint8 or float [h, w, 3] or [3, h, w] are."""
    if image.ndim == 3 and 3 in (image.shape[2], image.shape[0]):
        return 2 if image.shape[2] == 3 else 0
    raise UserError(f"{transform} needs an image of 3 colours, got shape {list(image.shape)}")


@TRANSFORMS.register
class DecodeImage:
    """Image file as bytes -> uint8 [h, w, 3], or [3, h, w] if `channel_first`.

    A grey image gets three equal channels; transparency is dropped. `to_rgb: False` gives BGR.
    An image of more than `max_pixels` is refused before it takes memory.
    """

    def __init__(
        self, to_rgb: bool = True, channel_first: bool = False, max_pixels: int = MOST_PIXELS
    ):
        if max_pixels < 1:
            raise UserError(f"max_pixels must be at least 1, got {max_pixels}")
        self.to_rgb, self.max_pixels = to_rgb, max_pixels
        self.channel_first = channel_first

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Decode the image.

        Raises:
            BadImage: it is not an image, or one that was cut short.

        """
        pixels = decode(sample[IMAGE], to_rgb=self.to_rgb, max_pixels=self.max_pixels)
        if self.channel_first:
            pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return {**sample, IMAGE: pixels}


def decode(encoded: bytes, *, to_rgb: bool = True, max_pixels: int = MOST_PIXELS) -> np.ndarray:
    """Return the pixels of the image file `encoded`, uint8 [h, w, 3], RGB or else BGR.

    Raises:
        BadImage: it is not an image, or one that was cut short, or its head claims more than
            `max_pixels`.

    """
    _check_end(encoded)
    _check_size(encoded, max_pixels)
    flag = RGB_FLAG if to_rgb else cv2.IMREAD_COLOR
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flag)
    except cv2.error as error:  # an assertion about its width and height
        raise BadImage("cannot be decoded: its header gives an impossible size") from error
    if pixels is None:
        raise BadImage("cannot be decoded as an image")
    if to_rgb and flag == cv2.IMREAD_COLOR:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return np.asarray(pixels)


def _check_size(image: bytes, most: int) -> None:
    """Refuse an image whose head claims so many pixels that they would fill the memory."""
    try:
        size = claimed_size(image)
    except ValueError as error:
        raise BadImage(f"cannot be decoded as an image: {error}") from error
    if size is None:
        raise BadImage("cannot be decoded as an image")
    width, height = size
    if width * height > most:
        raise BadImage(
            f"its head claims {width}x{height} pixels (width x height), at most {most} are read: "
            "shrink it, or raise max_pixels"
        )
    # Each pass over a JPEG takes the time of all its pixels, however few bytes it has.
    if (
        width * height * MOST_PASSES > most
        and image.startswith(JPEG_SIGNATURE)
        and image.count(JPEG_SCAN) * width * height > MOST_PASSES * most
    ):
        raise BadImage(f"its {image.count(JPEG_SCAN)} passes over {width}x{height} pixels are many")


def _check_end(image: bytes) -> None:
    """Refuse an image that was cut short: some decoders fill the rest with grey."""
    if not image:
        raise BadImage("the image is empty")
    # A thumbnail has an end of its own, before the image's last scan.
    if (
        image.startswith(JPEG_SIGNATURE)
        and not image.endswith(JPEG_END)
        and image.rfind(JPEG_END) <= image.rfind(JPEG_SCAN)
    ):
        raise BadImage(f"the JPEG is cut short: no end in its {len(image)} bytes")
    if image.startswith(PNG_SIGNATURE) and PNG_END not in image[-64:]:
        raise BadImage(f"the PNG is cut short: no end in its {len(image)} bytes")


@TRANSFORMS.register
class RandFlipImage:
    """Mirrors half of the images at random: left and right (1), top and bottom (0), both (-1).

    Boxes and the five landmarks of faces move along, left and right only.
    """

    def __init__(self, flip_code: Literal[-1, 0, 1] = 1):
        self.flip_code = flip_code

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Mirror the image [h, w, 3] with probability 0.5.

        Raises:
            UserError: the colours are first, or it has places that would not move with it.

        """
        image = sample[IMAGE]
        if _colour_axis(image, "RandFlipImage") != 2:
            raise UserError("RandFlipImage must stand before the colours go first (ToCHWImage)")
        if self.flip_code != 1:
            refuse_places(sample, f"RandFlipImage with flip_code {self.flip_code}")
        places = mirrored_places(sample, image.shape[1])
        if rng.random() >= 0.5:
            return sample
        return {**sample, **places, IMAGE: cv2.flip(image, self.flip_code)}


@TRANSFORMS.register
class NormalizeImage:
    """(x · scale - mean) / std in float32, each colour with its own mean and std.

    `order` says where the colours are: `hwc`, `chw`, or '' for whichever axis has three entries.
    """

    def __init__(
        self,
        scale: float = 1 / 255,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
        order: Literal["", "hwc", "chw"] = "",
    ):
        if 0 in std:
            raise UserError(f"NormalizeImage.std must not hold 0, got {list(std)}")
        self.scale = np.float32(scale)
        self.mean, self.std = np.array(mean, np.float32), np.array(std, np.float32)
        self.order = order
        self._spread: tuple[tuple[int, ...], np.ndarray, np.ndarray] | None = None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Make the image float32 of the same shape."""
        image = sample[IMAGE]
        if self._spread is None or self._spread[0] != image.shape:
            self._spread = self._spread_over(image)
        _, mean, std = self._spread
        result = image.astype(np.float32)
        result *= self.scale
        result -= mean
        result /= std
        return {**sample, IMAGE: result}

    def _spread_over(self, image: np.ndarray) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
        """Return mean and std in the image's shape: to broadcast them takes ten times as long."""
        axis = _colour_axis(image, "NormalizeImage")
        if self.order and axis != self.order.index("c"):
            raise UserError(
                f"NormalizeImage.order is {self.order!r}, the image has shape {list(image.shape)}"
            )
        shape = [3 if place == axis else 1 for place in range(3)]
        mean, std = (
            np.ascontiguousarray(np.broadcast_to(values.reshape(shape), image.shape))
            for values in (self.mean, self.std)
        )
        return image.shape, mean, std


@TRANSFORMS.register
class ToCHWImage:
    """[h, w, 3] -> [3, h, w]."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Put the image's colours first."""
        return {**sample, IMAGE: np.ascontiguousarray(sample[IMAGE].transpose(2, 0, 1))}
