"""MagFace's 1:1 protocol: angles between embeddings, after their mean has been taken from them.

Meng et al., "MagFace: A Universal Representation for Face Recognition and Quality Assessment",
CVPR 2021; folds, mean, distance and thresholds as the published evaluation has them. numpy only.
"""

import numpy as np
from numpy.typing import ArrayLike

from plsc.recognition.metrics.folds import Accuracy, Bools, Floats, decide_folds, unit_pairs


def angular_accuracy(embeddings: ArrayLike, issame: ArrayLike, *, nrof_folds: int = 10) -> Accuracy:
    """Return the accuracy on each fold at the angle that is best on the other folds.

    For each fold, the mean of the other folds' embeddings is taken from all embeddings. They have
    the lengths that the model gives them then, so that long ones weigh more in the mean, and what
    comes out differs from that of normalised ones. An embedding that equals the mean is at a right
    angle to all others.

    Args:
        embeddings: [2P, d] as the model gives them; rows 2i and 2i+1 are pair i.
        issame: [P] whether a pair shows one person.
        nrof_folds: number of contiguous folds.

    Returns:
        `threshold` and `cosine` are of embeddings less the mean of all: of no use for others.

    Raises:
        CollapsedEmbeddings: not finite, or all images alike.
        UserError: fewer pairs than folds, or pairs of one kind only.

    """
    _, same = unit_pairs(embeddings, issame, nrof_folds)
    rows = np.asarray(embeddings, np.float64)

    def fitted(pairs: Bools) -> Floats:
        return angles(rows - rows[np.repeat(pairs, 2)].mean(axis=0))

    def cosine(angle: float) -> float:
        return float(np.cos(np.pi * min(angle, 1.0)))

    return decide_folds(fitted, same, nrof_folds, cosine, "magface")


def angles(rows: Floats) -> Floats:
    """Return each pair's angle [P] in half turns, 0 to 1, from rows [2P, d]; 0.5 if one is zero."""
    first, second = rows[0::2], rows[1::2]
    products = np.einsum("pd,pd->p", first, second)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines = products / np.where(lengths > 0, lengths, 1)
    halves: Floats = np.arccos(cosines.clip(-1, 1)) / np.pi
    return halves
