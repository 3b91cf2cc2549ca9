"""Deterministic images on which two runs of a network are compared."""

import numpy as np
from numpy.typing import NDArray

PATCHES = (1, 28, 8, 56, 4)  # sides in pixels; the sixth image is of the first again


def probe_images(count: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return images [count, *shape] from -1 to 1, from coarse patches to fine noise."""
    return np.asarray((probe_pixels(count, shape) - 127.5) / 127.5, np.float32)


def probe_pixels(count: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return the same images as uint8; the first ones do not depend on `count`."""
    random, (colours, height, width) = np.random.default_rng(0), shape
    images = np.empty((count, *shape), np.uint8)
    for index, image in enumerate(images):
        side = PATCHES[index % len(PATCHES)]
        patches = random.integers(0, 256, (colours, -(-height // side), -(-width // side)))
        image[:] = np.kron(patches, np.ones((1, side, side)))[:, :height, :width]
    return images
