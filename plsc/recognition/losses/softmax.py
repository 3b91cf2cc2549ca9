"""Compute the cross entropy over a class axis that is split over ranks."""

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from plsc.distributed.collectives import reduce_max, reduce_sum
from plsc.recognition.losses.margin import add_at, target_cosines
from plsc.recognition.losses.matrices import exp_, multiply_, row_maxima, row_sums, subtract_


class _CrossEntropy(PyLayer):
    """Compute the loss over all ranks' classes; backward is (softmax − one-hot) / n of this rank.

    One tensor of the size of the logits holds the shifted logits, then their exponentials, then
    the gradient. At 100,000 classes, each further tensor would cost a tenth of the time of the
    matrix products, besides its memory.
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
        ctx.saved = None  # they are about to be overwritten, while the loss keeps this ctx
        each = gradient / total.shape[0]
        probabilities = multiply_(exponentials, each / total)
        return add_at(probabilities, column, -each * owned), None


def cross_entropy(logits: Tensor, target: Tensor, *, reuse: bool = False) -> Tensor:
    """Return the mean over rows of −log softmax(all ranks' logits)[target], the same on all ranks.

    The ranks reduce three numbers per row in two collectives, whatever the number of classes. With
    one rank the result equals `F.cross_entropy(logits, target)`.

    Args:
        logits: [n, k] of this rank's classes; k may differ between ranks.
        target: [n] int64, column of the row's class, −1 where another rank owns it.
        reuse: overwrite the logits; see `MarginOutput.reusable`.

    """
    return _CrossEntropy.apply(logits, target, reuse)
