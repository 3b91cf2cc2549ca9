"""Images that tests make up."""

import cv2
import numpy as np


def noise(number: int, *, side: int = 112, width: int | None = None, ending: str = ".jpg") -> bytes:
    """Return an encoded image of random pixels, another one for each number."""
    shape = (side, width or side, 3)
    pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
    return cv2.imencode(ending, pixels)[1].tobytes()
