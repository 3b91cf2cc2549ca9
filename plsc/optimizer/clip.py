"""Clipping by the norm of the whole gradient, replicated and sharded parts together."""

from collections.abc import Collection, Mapping, Sequence

import paddle
from paddle import Tensor

from plsc.distributed.collectives import reduce_sum
from plsc.optimizer import kernels


def named(names: Collection[str], parts: Collection[str]) -> bool:
    """Tell whether any of `parts` occurs in one of the `names` of a parameter."""
    return any(part in name for part in parts for name in names)


def squared_norms(
    replicated: Mapping[str, Tensor], sharded: Mapping[str, Tensor]
) -> dict[str, float]:
    """Return ‖g‖² by name, of sharded rows over all ranks.

    Scalars travel together, so the device is waited for once.

    Args:
        replicated: gradients that are the same on all ranks.
        sharded: ‖g‖² of this rank's rows, scalars.

    """
    # paddle.dot and paddle.linalg.norm add up in sequence on CPU and lose 2 % over ten million
    # float32 values; sum() does not.
    found: dict[str, float] = {}
    others: dict[str, Tensor] = {}
    for name, gradient in replicated.items():
        square = kernels.squared_norm(gradient)
        if square is None:
            others[name] = paddle.square(gradient).sum().astype("float64")
        else:
            found[name] = square
    for name, square_here in sharded.items():
        others[name] = reduce_sum(square_here).astype("float64")
    if others:
        values = paddle.stack(list(others.values()))
        found |= zip(others, values.numpy().tolist(), strict=True)
    return {name: found[name] for name in (*replicated, *sharded)}


class ClipGradByGlobalNorm:
    """Scale all gradients by clip_norm / (norm + 1e-6) where their joint norm is above clip_norm.

    `always_clip` scales up as well, so that every step's gradient has norm clip_norm unless
    `clip_norm_max` caps the factor. Parameters whose name contains a text of `no_clip_list`
    neither count nor are scaled.
    """

    def __init__(
        self,
        clip_norm: float = 1.0,
        clip_norm_max: float | None = None,
        always_clip: bool = False,
        no_clip_list: Sequence[str] = (),
    ):
        self.clip_norm, self.clip_norm_max = clip_norm, clip_norm_max
        self.always_clip = always_clip
        self.no_clip_list = tuple(no_clip_list)

    def clips(self, *names: str) -> bool:
        """Tell whether the parameter that has these names counts and is scaled."""
        return not named(names, self.no_clip_list)

    def factor(self, norm: float) -> float:
        """Return what the gradients of joint norm `norm` are multiplied by."""
        if not self.always_clip and norm <= self.clip_norm:
            return 1.0
        factor = self.clip_norm / (norm + 1e-6)
        return factor if self.clip_norm_max is None else min(factor, self.clip_norm_max)
