"""Measure the quality of an image in independent ways; higher is better.

To add a measure of pixels, write a function here and add a line to IMAGE_MEASURES.
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
AT_ONCE = 64  # images per message between processes; fewer cost more than they save


def sharpness(grey: Grey) -> float:
    """Return the variance of the Laplacian of `grey` uint8 [h, w], which blur lowers.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000. Noise
    raises it, and so does a larger picture of the same face.
    """
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def brightness(grey: Grey) -> float:
    """Return minus the distance of the mean of `grey` uint8 [h, w] from middle grey, in levels.

    A face that is too dark is as bad as one that is too bright: 0 is best, -127.5 is worst.
    """
    return -abs(float(grey.mean()) - MIDDLE_GREY)


def contrast(grey: Grey) -> float:
    """Return the RMS contrast of `grey` uint8 [h, w]: standard deviation / 255, 0 to 0.5."""
    return float(grey.std()) / 255


IMAGE_MEASURES: Mapping[str, Callable[[Grey], float]] = {
    "sharpness": sharpness,
    "brightness": brightness,
    "contrast": contrast,
}
MAGNITUDE, RANDOM = "magnitude", "random"
MEASURES = (MAGNITUDE, *IMAGE_MEASURES, RANDOM)


def magnitude(embeddings: ArrayLike) -> Floats:
    """Return the L2 lengths [n] of embeddings [n, d] (MagFace, arXiv:2103.06627)."""
    return np.asarray(np.linalg.norm(np.asarray(embeddings, np.float64), axis=1))


def random(count: int, *, seed: int = 0) -> Floats:
    """Return random qualities [count] as a control: the gain from rejecting by chance."""
    return np.random.default_rng(seed).random(count)


def measure_images(
    pairs: PairSet, names: Sequence[str], *, num_workers: int = 0
) -> dict[str, Floats]:
    """Return measures of pixels by name, float64 [2P] each; show progress.

    Images are measured in their own size and in grey: 0.299 R + 0.587 G + 0.114 B.

    Args:
        pairs: the images.
        names: names in IMAGE_MEASURES.
        num_workers: number of processes that read and measure.

    Raises:
        BadImage: a file is not a complete image.

    """
    functions = [IMAGE_MEASURES[name] for name in names]
    measures = np.empty((len(pairs), len(functions)))

    def measured(rows: range) -> tuple[list[Floats], None]:
        values = np.empty((len(rows), len(functions)))
        for index, row in enumerate(rows):
            grey = _grey(pairs.read(row)[0], pairs.where(row))
            values[index] = [function(grey) for function in functions]
        return [values], None

    fill_rows([measures], measured, num_workers=num_workers, at_once=AT_ONCE)
    return {name: measures[:, column].copy() for column, name in enumerate(names)}


def _grey(encoded: bytes, where: str) -> Grey:
    try:
        pixels = decode(encoded)
    except BadImage as error:
        raise BadImage(f"{where}: {error}") from error
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
