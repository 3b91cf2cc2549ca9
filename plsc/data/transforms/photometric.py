"""Light and colours of photographs changed at random, as detectors are trained with (SSD's)."""

from typing import Annotated

import cv2
import numpy as np

from plsc.config.registry import TRANSFORMS
from plsc.config.schema import Range
from plsc.data.transforms.augment import Probability, RandomChange

Factor = Annotated[tuple[float, float], Range(0, 10)]


@TRANSFORMS.register
class RandDistortImage(RandomChange):
    """Brightness, contrast, saturation and hue, each changed or not with equal probability.

    Brightness is a summand from -`brightness` to `brightness`, contrast and saturation factors,
    hue a turn by at most `hue` degrees. Colours may be in either order: turns to both sides are
    alike.
    """

    def __init__(
        self,
        probability: Probability = 1.0,
        brightness: Annotated[float, Range(0, 255)] = 32.0,
        contrast: Factor = (0.5, 1.5),
        saturation: Factor = (0.5, 1.5),
        hue: Annotated[float, Range(0, 180)] = 36.0,
    ):
        super().__init__(probability)
        self._brightness, self._hue = brightness, hue
        self._contrast = self._ordered("contrast", contrast)
        self._saturation = self._ordered("saturation", saturation)

    def _change(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        shift = rng.uniform(-self._brightness, self._brightness) if rng.random() < 0.5 else 0.0
        factor = rng.uniform(*self._contrast) if rng.random() < 0.5 else 1.0
        stretch = rng.uniform(*self._saturation) if rng.random() < 0.5 else 1.0
        turn = rng.uniform(-self._hue, self._hue) if rng.random() < 0.5 else 0.0
        lit = np.clip(image.astype(np.float32) * factor + shift, 0, 255)
        if stretch == 1.0 and turn == 0.0:
            return lit.astype(np.uint8)
        colours = cv2.cvtColor(lit / 255, cv2.COLOR_BGR2HSV)
        colours[..., 0] = (colours[..., 0] + turn) % 360
        colours[..., 1] = np.clip(colours[..., 1] * stretch, 0, 1)
        return (cv2.cvtColor(colours, cv2.COLOR_HSV2BGR) * 255).round().astype(np.uint8)
