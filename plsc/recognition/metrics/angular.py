"""MagFace's 1:1 protocol: angles between embeddings, measured after subtracting their mean.

Meng et al., "MagFace: A Universal Representation for Face Recognition and Quality Assessment",
CVPR 2021. Folds, mean, distance and thresholds are those of the published evaluation. numpy only.
"""

import numpy as np
from numpy.typing import ArrayLike

from plsc.recognition.metrics.folds import Accuracy, Bools, Floats, decide_folds, unit_pairs


def angular_accuracy(embeddings: ArrayLike, issame: ArrayLike, *, nrof_folds: int = 10) -> Accuracy:
    """Return the accuracy on each fold at the angle that is best on the other folds.

    For each fold, the mean embedding of the other folds is subtracted from all embeddings. The
    embeddings are not normalised first: long ones weigh more in the mean, so the result differs
    from that of normalised embeddings. An embedding that equals the mean is at a right angle to
    all others.

    Args:
        embeddings: [2P, d] as the model outputs them; rows 2i and 2i+1 are pair i.
        issame: bool [P], true where a pair shows one person.
        nrof_folds: number of contiguous folds.

    Returns:
        The accuracy. Its `threshold` and `cosine` apply to embeddings from which the mean of this
        set was subtracted; do not use them on other embeddings.

    Raises:
        CollapsedEmbeddings: the embeddings are not finite, or alike for all images.
        UserError: there are fewer pairs than folds, or pairs of one kind only.

    """
    _, same = unit_pairs(embeddings, issame, nrof_folds)
    rows = np.asarray(embeddings, np.float64)

    def fitted(pairs: Bools) -> Floats:
        return angles(rows - rows[np.repeat(pairs, 2)].mean(axis=0))

    def cosine(angle: float) -> float:
        return float(np.cos(np.pi * min(angle, 1.0)))

    return decide_folds(fitted, same, nrof_folds, cosine, "magface")


def angles(rows: Floats) -> Floats:
    """Return the angle of each pair [P] in half turns (0 to 1) from rows [2P, d].

    The angle is 0.5 where one of the two rows is zero.
    """
    first, second = rows[0::2], rows[1::2]
    products = np.einsum("pd,pd->p", first, second)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines = products / np.where(lengths > 0, lengths, 1)
    halves: Floats = np.arccos(cosines.clip(-1, 1)) / np.pi
    return halves
