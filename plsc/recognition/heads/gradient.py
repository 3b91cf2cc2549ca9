"""Keep the gradient of sampled class centres as factors, not as their product."""

from collections.abc import Iterator

import paddle
from paddle import Tensor

from plsc.nn.device import on_gpu

CPU_CHUNK = 1024  # rows whose weight, state and gradient fit into the cache of a core
GPU_CHUNK = 65536


def chunks(num_rows: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the pieces in which rows are updated.

    Memory bounds Paddle's elementwise operations on a CPU. In pieces that fit into the cache, an
    update of 100,000 rows takes half the time of an update at once, and needs no second copy.
    """
    step = GPU_CHUNK if on_gpu() else CPU_CHUNK
    for start in range(0, num_rows, step):
        yield start, min(start + step, num_rows)


class RowGradient:
    """G = leftᵀ·right − pull ⊙ W for rows W [k, d]: d loss / d W of a loss of cosines.

    `add` sums the parts of a step. While there are fewer samples than dimensions, the factors are
    smaller than the product, and only a few rows of G exist at a time.

    Args:
        weight: W [k, d]; must not change until the gradient has been used.
        norms: [k] L2 norms of the rows of W.

    """

    def __init__(self, weight: Tensor, norms: Tensor):
        self._weight, self._norms = weight, norms
        self._left: Tensor | None = None  # [n, k]
        self._right: Tensor | None = None  # [n, d]
        self._product: Tensor | None = None  # [k, d]; replaces the factors
        self._pull = paddle.zeros_like(norms)

    def add(self, left: Tensor, right: Tensor, pull: Tensor) -> None:
        """Add leftᵀ·right − pull ⊙ W: left [n, k], right [n, d], pull [k]."""
        self._pull.add_(pull)
        if self._product is not None:
            self._product.add_(paddle.matmul(left, right, transpose_x=True))
            return
        if self._left is not None and self._right is not None:
            left = paddle.concat([self._left, left])
            right = paddle.concat([self._right, right])
        self._left, self._right = left, right
        if len(right) > right.shape[1]:
            self._product = paddle.matmul(left, right, transpose_x=True)
            self._left = self._right = None

    def rows(self, start: int, stop: int) -> Tensor:
        """Return G[start:stop] as a tensor of its own."""
        if self._product is not None:
            product = self._product[start:stop]
        elif self._left is not None:
            product = paddle.matmul(self._left[:, start:stop], self._right, transpose_x=True)
        else:
            return paddle.zeros_like(self._weight[start:stop])
        return product - self._weight[start:stop] * self._pull[start:stop].unsqueeze(1)

    def whole(self) -> Tensor:
        """Return G [k, d]."""
        return self.rows(0, len(self._weight))

    def squared_norm(self) -> Tensor:
        """Return ‖G‖², a scalar tensor, without computing G.

        The rows of G are orthogonal to those of W, because a cosine does not depend on a length.
        Hence ‖G_j‖² = ‖left_jᵀ·right‖² − pull_j²·‖W_j‖².
        """
        if self._left is None or self._right is None:
            parts = [
                paddle.square(self.rows(start, stop)).sum()
                for start, stop in chunks(len(self._weight))
            ]
            return paddle.stack(parts).sum()
        gram = paddle.matmul(self._right, self._right, transpose_y=True)
        pieces = (self._left[:, start:stop] for start, stop in chunks(self._left.shape[1]))
        parts = [paddle.matmul(gram, piece).multiply_(piece).sum() for piece in pieces]
        square = paddle.add_n(parts) - paddle.square(self._pull * self._norms).sum()
        return paddle.where(square < 0, paddle.zeros_like(square), square)  # NaN stays NaN

    def assign(self, gradient: Tensor) -> None:
        """Replace G by a copy of `gradient` [k, d]."""
        self._left = self._right = None
        self._product, self._pull = gradient.detach().clone(), paddle.zeros_like(self._norms)
