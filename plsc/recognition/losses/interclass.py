"""Interclass filtering: other classes that look like the sample's own are left out of its loss."""

import paddle
from paddle import Tensor


def filter_similar(cosines: Tensor, target: Tensor, threshold: float) -> Tensor:
    """Set cosines [n, k] of other classes above `threshold` to 0, without gradient; return a copy.

    In data with identities that appear under several classes, such a class is likely the same
    person under another number, from whom the sample should not be pushed away (as
    `interclass_filtering_threshold` in arcface_torch does it). Each rank filters its own columns;
    a row whose class another rank owns has no column to protect. NaN stays NaN.

    Args:
        cosines: [n, k] of this rank's classes.
        target: [n] int64, column of the row's class, −1 where another rank owns it.
        threshold: a cosine.

    """
    similar = cosines > threshold
    row, column = paddle.arange(len(target)), target.clip(min=0)
    elsewhere = target < 0
    similar.index_put_((row, column), similar[row, column].logical_and(elsewhere))
    return paddle.masked_fill(cosines, similar, 0.0)
