"""Leave classes that resemble a sample's own class out of its loss (interclass filtering)."""

import paddle
from paddle import Tensor


def filter_similar(cosines: Tensor, target: Tensor, threshold: float) -> Tensor:
    """Set cosines [n, k] of other classes above `threshold` to 0, without gradient; return a copy.

    If a data set lists an identity under several classes, such a class is likely the same person,
    and the loss should not push the sample away from it. This is `interclass_filtering_threshold`
    of arcface_torch. Each rank filters its own columns; a row whose class another rank owns has no
    column to protect. NaN stays NaN.

    Args:
        cosines: [n, k] of this rank's classes.
        target: [n] int64, column of the row's class, −1 where another rank owns it.
        threshold: cosine above which another class is left out.

    """
    similar = cosines > threshold
    row, column = paddle.arange(len(target)), target.clip(min=0)
    elsewhere = target < 0
    similar.index_put_((row, column), similar[row, column].logical_and(elsewhere))
    return paddle.masked_fill(cosines, similar, 0.0)
