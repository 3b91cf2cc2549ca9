"""The quality scores of a model's faces, for commands that weigh by them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.inference.calibration import require_alike
from plsc.recognition.embedder import Embedder

Floats = NDArray[np.float64]


def quality_scores(embedder: Embedder) -> Callable[[Floats], Floats]:
    """Return a function: magnitudes [n] -> scores [n] from 0 to 100, by the model's calibration.

    Raises:
        UserError: it carries none, or one of images that were prepared otherwise.

    """
    info = embedder.info
    if info.calibration is None:
        raise UserError(
            f"{info.path} carries no calibration of its magnitudes, which quality scores need: "
            f"make one with plsc-quality {info.path} REFERENCE --calibrate"
        )
    require_alike(info.calibration, info.preparation)
    return info.calibration.scores
