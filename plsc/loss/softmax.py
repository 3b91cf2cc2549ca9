"""Cross entropy whose class axis is split over ranks."""

import paddle
from paddle import Tensor

from plsc.distributed.collectives import reduce_max, reduce_sum_with_grad
from plsc.loss.margin import target_cosines


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over rows of −log softmax(all ranks' logits)[target]; the same scalar on every rank.

    Three reductions of one number per row, whatever the number of classes. Equals
    `F.cross_entropy(logits, target)` in a world of one.

    Args:
        logits: [n, k] of this rank's classes; k may differ from rank to rank.
        target: [n] int64, column of the row's class, −1 where another rank owns it.

    """
    largest = reduce_max(logits.detach().max(axis=1, keepdim=True))
    shifted = logits - largest
    total = reduce_sum_with_grad(paddle.exp(shifted).sum(axis=1, keepdim=True))
    own, _, owned = target_cosines(shifted, target)
    return (paddle.log(total) - reduce_sum_with_grad(own * owned)).mean()
