"""Clipping by the norm of the whole gradient, replicated and sharded parts together."""

from collections.abc import Mapping, Sequence

import paddle
from paddle import Tensor

from plsc.distributed.collectives import reduce_sum
from plsc.optimizer import kernels

HEAD = "head.weight"  # the head's state-dict key
# Lists of parameter names in PLSC's configs may also mean the head by its parameter name there.
HEAD_NAMES = (HEAD, "partialfc@dist@rank")


def named(name: str, parts: Sequence[str]) -> bool:
    """Whether any of `parts` occurs in the state-dict key `name` (the head has two names)."""
    names = HEAD_NAMES if name == HEAD else (name,)
    return any(part in one for part in parts for one in names)


def squared_norms(replicated: Mapping[str, Tensor], sharded: Tensor) -> dict[str, float]:
    """‖g‖² by name, that of the head over all ranks: `sharded` is ‖g‖² of this rank's rows.

    Scalars travel together, so the device is waited for once.
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
    values = paddle.stack([*others.values(), reduce_sum(sharded).astype("float64")])
    found |= zip([*others, HEAD], values.numpy().tolist(), strict=True)
    return {name: found[name] for name in (*replicated, HEAD)}


class ClipGradByGlobalNorm:
    """Scale all gradients by clip_norm / (norm + 1e-6) where their joint norm is above clip_norm.

    `always_clip` scales up as well, so that every step's gradient has norm clip_norm unless
    `clip_norm_max` caps the factor. Parameters whose state-dict key contains a text of
    `no_clip_list` neither count nor are scaled; `dist` and `partialfc` there mean the head.
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

    def clips(self, name: str) -> bool:
        """Whether the parameter with this state-dict key counts and is scaled."""
        return not named(name, self.no_clip_list)

    def factor(self, norm: float) -> float:
        """What the gradients of joint norm `norm` are multiplied by."""
        if not self.always_clip and norm <= self.clip_norm:
            return 1.0
        factor = self.clip_norm / (norm + 1e-6)
        return factor if self.clip_norm_max is None else min(factor, self.clip_norm_max)
