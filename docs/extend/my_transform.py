"""A transform of your own: it takes a sample and a random generator, and returns a sample."""

from typing import Annotated, Any

import numpy as np

from plsc.config.registry import TRANSFORMS
from plsc.config.schema import Range


@TRANSFORMS.register
class RandGammaImage:
    """Change the brightness of an image uint8 [h, w, 3] by a random exponent."""

    def __init__(self, largest: Annotated[float, Range(1)] = 1.5):
        self.largest = largest

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        exponent = self.largest ** rng.uniform(-1, 1)
        brighter = (sample["image"] / 255.0) ** exponent
        return {**sample, "image": np.rint(brighter * 255).astype(np.uint8)}
