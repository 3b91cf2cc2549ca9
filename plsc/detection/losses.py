"""The MultiBox loss of a step: boxes, landmarks, and faces against mined background.

Every sum is divided by a number of anchors of the whole step, over all ranks and parts, so that
neither changes what is learnt; which anchors are mined is decided image by image.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import paddle
from paddle import Tensor
from paddle.nn import functional as F

from plsc.detection.matching import Targets
from plsc.detection.models.retinaface import BOX, LANDMARK, SCORE, VALUES


class Counts(NamedTuple):
    """Anchors of a step, of all ranks and parts.

    Attributes:
        positive: that have a face.
        with_landmarks: whose face has landmarks.

    """

    positive: int
    with_landmarks: int


class Losses(NamedTuple):
    """Scalars: this part's summands of the losses of a step, before they are weighted."""

    box: Tensor
    score: Tensor
    landmark: Tensor


def multibox_loss(
    outputs: Mapping[str, Tensor], targets: Targets, counts: Counts, *, negatives: int
) -> Losses:
    """Return the losses of a part of a step.

    All outputs take part, with zeros if need be, whatever the images show.

    Args:
        outputs: bbox [b, a, 4], score [b, a, 2] as logits, landmark [b, a, 10].
        targets: of the same images.
        counts: of the whole step.
        negatives: anchors without a face that count, for each of the same image with one: those
            that the network is most wrong about.

    """
    positive, with_landmarks = max(counts.positive, 1), max(counts.with_landmarks, 1)
    # At least one row, with weight 0 if no anchor has a face: operators refuse tensors of none.
    rows = targets.rows if len(targets.rows) else np.zeros(1, np.int64)
    labels = targets.labels.reshape(-1)[rows]

    def of_rows(name: str, wanted: np.ndarray, used: np.ndarray) -> Tensor:
        values = outputs[name].reshape([-1, VALUES[name]])
        given = paddle.gather(values, paddle.to_tensor(rows)).astype("float32")
        if not len(wanted):
            wanted = np.zeros((1, VALUES[name]), np.float32)
        weights = paddle.to_tensor(used.astype(np.float32)[:, None])
        # Targets without meaning may be huge: they become the network's own values.
        apart = (given - paddle.to_tensor(np.where(used[:, None], wanted, 0))) * weights
        return F.smooth_l1_loss(apart, paddle.zeros_like(apart), reduction="sum")

    return Losses(
        box=of_rows(BOX, targets.boxes, labels != 0) / positive,
        score=_score_loss(outputs[SCORE].astype("float32"), targets, negatives) / positive,
        landmark=of_rows(LANDMARK, targets.landmarks, labels > 0) / with_landmarks,
    )


def _score_loss(logits: Tensor, targets: Targets, negatives: int) -> Tensor:
    """Return the sum of the cross entropies of anchors with a face and of mined ones without."""
    is_face = targets.labels != 0  # [b, a]
    margins = logits[..., 1] - logits[..., 0]
    faces = paddle.to_tensor(is_face.astype(np.float32))
    total = (F.softplus(-margins) * faces).sum()
    per_image = np.minimum(negatives * is_face.sum(axis=1), is_face.shape[1] - 1)
    most = int(per_image.max())
    if not most:
        return total
    # An anchor with a face has the loss 0 here: it is taken only where nothing else is left.
    hardest = paddle.topk(F.softplus(margins) * (1 - faces), most, axis=1)[0]
    taken = np.arange(most) < per_image[:, None]
    return total + (hardest * paddle.to_tensor(taken.astype(np.float32))).sum()
