"""Cross entropy whose class axis is split over ranks."""

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from plsc.distributed.collectives import reduce_max, reduce_sum
from plsc.recognition.losses.margin import add_at, target_cosines
from plsc.recognition.losses.matrices import exp_, multiply_, row_maxima, row_sums, subtract_


class _CrossEntropy(PyLayer):
    """Forward: the loss of all ranks' classes. Backward: (softmax − one-hot) / n of this rank's.

    One tensor of the logits' size holds, one after the other, the shifted logits, their
    exponentials and the gradient: at 100,000 classes each more would cost as much time as a tenth
    of the matrix products, and its memory.
    """

    @staticmethod
    def forward(ctx, logits, target, reuse):
        largest = reduce_max(row_maxima(logits))
        shifted = subtract_(logits.detach(), largest) if reuse else logits - largest
        own, column, owned = target_cosines(shifted, target)
        exponentials = exp_(shifted)
        parts = paddle.concat([row_sums(exponentials), own * owned], axis=1)
        total, own = reduce_sum(parts).split(2, axis=1)  # both sums in one collective
        ctx.saved = exponentials, total, column, owned
        return (paddle.log(total) - own).mean()

    @staticmethod
    def backward(ctx, gradient):
        exponentials, total, column, owned = ctx.saved
        ctx.saved = None  # they are about to change, and the loss keeps this ctx for long
        each = gradient / total.shape[0]
        probabilities = multiply_(exponentials, each / total)
        return add_at(probabilities, column, -each * owned), None


def cross_entropy(logits: Tensor, target: Tensor, *, reuse: bool = False) -> Tensor:
    """Return the mean over rows of −log softmax(all ranks' logits)[target], alike on all ranks.

    Three reductions of one number per row, whatever the number of classes, two of them as one.
    Equals `F.cross_entropy(logits, target)` in a world of one.

    Args:
        logits: [n, k] of this rank's classes; k may differ from rank to rank.
        target: [n] int64, column of the row's class, −1 where another rank owns it.
        reuse: write over the logits; nothing may need them any more, see MarginOutput.

    """
    return _CrossEntropy.apply(logits, target, reuse)
