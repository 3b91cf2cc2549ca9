"""Four ways to spoil the picture of a face, each by a severity: blur, noise, darkness, crop.

For data whose quality is known. The constants are such that at severity 1 and FMR 1e-2 a small
network knows about half of the people of unspoilt pictures again, of crops one in six.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

REFERENCE_SIDE = 112  # pixels; lengths below are of such an image
MOST_BLUR = 14.0  # sigma, pixels: eyes and mouth run into one
MOST_NOISE = 180.0  # sigma, grey levels
LEAST_LIGHT = 0.015  # factor on all colours: of 255 levels 4 are left
MOST_SHIFT = 0.25  # of the side: chin, brow or an ear is outside
MOST_ZOOM = 1.3


def with_noise(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """Return `image` uint8 [h,w,3] with noise of `sigma` grey levels, of each pixel and colour.

    Equal generators give the same pattern at every sigma, on every machine.
    """
    # Sums of four random bytes: near to normal, and whole numbers until the last product.
    grains = np.frombuffer(rng.bytes(4 * image.size), np.uint8).reshape(4, *image.shape)
    noise = (grains.sum(axis=0, dtype=np.int16) - 510).astype(np.float32)
    noise *= np.float32(sigma / math.sqrt(4 * (256**2 - 1) / 12))
    return np.rint(np.clip(image + noise, 0, 255)).astype(np.uint8)


def _blur(image: Image, severity: float, rng: np.random.Generator) -> Image:
    sigma = MOST_BLUR * severity * max(image.shape[:2]) / REFERENCE_SIDE
    return cv2.GaussianBlur(image, (0, 0), sigma)


def _noise(image: Image, severity: float, rng: np.random.Generator) -> Image:
    return with_noise(image, MOST_NOISE * severity, rng)


def _darkness(image: Image, severity: float, rng: np.random.Generator) -> Image:
    # A quotient on the light, not a difference: each tenth of severity looks as dark as the last.
    light = np.float32(LEAST_LIGHT**severity)
    return np.rint(image * light).astype(np.uint8)


def _crop(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Crop as a box gone astray does: moved in a random direction, too small, black outside."""
    height, width = image.shape[:2]
    direction = rng.uniform(0, 2 * math.pi)
    share = 1 / (1 + (MOST_ZOOM - 1) * severity)
    rows, columns = round(height * share), round(width * share)
    away = np.array([math.sin(direction), math.cos(direction)]) * MOST_SHIFT * severity
    middle = (0.5 + away) * (height, width)
    top, left = (int(place) for place in np.rint(middle - np.array([rows, columns]) / 2))
    y, x = height, width  # of the picture in a field of black as large on every side
    field = cv2.copyMakeBorder(image, y, y, x, x, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    part = field[y + top : y + top + rows, x + left : x + left + columns]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)


_CHANGES: dict[str, Callable[[Image, float, np.random.Generator], Image]] = {
    "blur": _blur,
    "noise": _noise,
    "darkness": _darkness,
    "crop": _crop,
}
KINDS = tuple(_CHANGES)


def degrade(image: Image, kind: str, severity: float, rng: np.random.Generator) -> Image:
    """Return a picture that is harder to recognise, the harder the greater the severity.

    Args:
        image: uint8 [h,w,3], colours in any order; stays as it is.
        kind: one of KINDS: "blur" (Gaussian), "noise" (near to normal, of each pixel and colour),
            "darkness" (all colours times a factor), "crop" (moved and enlarged, black outside).
        severity: 0 for the image itself, to 1.
        rng: draws the noise and the crop's direction, which do not depend on the severity.

    Returns:
        uint8 [h,w,3], memory of its own.

    Raises:
        ValueError: another kind or severity.

    """
    if kind not in _CHANGES:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if not 0 <= severity <= 1:
        raise ValueError(f"severity must be from 0 to 1, got {severity}")
    return image.copy() if severity == 0 else _CHANGES[kind](image, severity, rng)
