"""Measure a picture's quality, in independent ways; higher is better.

A new measure of the pixels is a function here and its line in IMAGE_MEASURES.
"""

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from plsc.data.loader.image_map import fill_rows
from plsc.data.sets.base import BadImage
from plsc.data.sets.pairs import PairSet
from plsc.data.transforms.standard import decode

Floats = NDArray[np.float64]
Grey = NDArray[np.uint8]

MIDDLE_GREY = 127.5
AT_ONCE = 64  # images: fewer are not worth a message between processes


def sharpness(grey: Grey) -> float:
    """Return the variance of the Laplacian of `grey` uint8 [h, w]: what blur takes away.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000. Noise raises
    it, and so does a larger picture of the same face.
    """
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def brightness(grey: Grey) -> float:
    """Return how near the mean of `grey` uint8 [h, w] is to middle grey: minus the levels between.

    A face that is too dark is as bad as one that is too bright: 0 is best, -127.5 worst.
    """
    return -abs(float(grey.mean()) - MIDDLE_GREY)


def contrast(grey: Grey) -> float:
    """Return RMS contrast of `grey` uint8 [h, w]: standard deviation over full range, 0 to 0.5."""
    return float(grey.std()) / 255


IMAGE_MEASURES: Mapping[str, Callable[[Grey], float]] = {
    "sharpness": sharpness,
    "brightness": brightness,
    "contrast": contrast,
}
MAGNITUDE, RANDOM = "magnitude", "random"
MEASURES = (MAGNITUDE, *IMAGE_MEASURES, RANDOM)


def magnitude(embeddings: ArrayLike) -> Floats:
    """Return L2 lengths [n] of embeddings [n, d] of a model (MagFace, arXiv:2103.06627)."""
    return np.asarray(np.linalg.norm(np.asarray(embeddings, np.float64), axis=1))


def random(count: int, *, seed: int = 0) -> Floats:
    """Return a control [count] that knows nothing of the images: what rejecting by chance gains."""
    return np.random.default_rng(seed).random(count)


def measure_images(
    pairs: PairSet, names: Sequence[str], *, num_workers: int = 0
) -> dict[str, Floats]:
    """Return measures of pixels, float64 [2P] each, by name; with progress.

    Images are measured in the size that they have, in grey: 0.299 R + 0.587 G + 0.114 B.

    Args:
        pairs: the images.
        names: of IMAGE_MEASURES.
        num_workers: processes that read and measure.

    Raises:
        BadImage: a file is no whole image.

    """
    functions = [IMAGE_MEASURES[name] for name in names]
    found = np.empty((len(pairs), len(functions)))

    def measured(rows: range) -> tuple[list[Floats], None]:
        values = np.empty((len(rows), len(functions)))
        for place, row in enumerate(rows):
            grey = _grey(pairs.read(row)[0], pairs.where(row))
            values[place] = [function(grey) for function in functions]
        return [values], None

    fill_rows([found], measured, num_workers=num_workers, at_once=AT_ONCE)
    return {name: found[:, column].copy() for column, name in enumerate(names)}


def _grey(encoded: bytes, where: str) -> Grey:
    try:
        pixels = decode(encoded)
    except BadImage as error:
        raise BadImage(f"{where}: {error}") from error
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
