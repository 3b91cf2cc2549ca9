"""Quality scores of faces, for commands that weight faces by quality."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.inference.calibration import require_alike
from plsc.recognition.embedder import Embedder

Floats = NDArray[np.float64]


def quality_scores(embedder: Embedder) -> Callable[[Floats], Floats]:
    """Return a function from magnitudes [n] to scores [n], 0 to 100, by the model's calibration.

    Raises:
        UserError: the model has no calibration, or one of images prepared in another way.

    """
    info = embedder.info
    if info.calibration is None:
        raise UserError(
            f"{info.path} has no calibration of magnitudes, which quality scores need: make one "
            f"with plsc-quality {info.path} REFERENCE --calibrate"
        )
    require_alike(info.calibration, info.preparation)
    return info.calibration.scores
