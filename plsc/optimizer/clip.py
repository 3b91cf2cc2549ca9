"""Clipping of gradients: by the norm of all of them, by each tensor's own, by value."""

from collections.abc import Collection, Sequence
from typing import Annotated, Protocol

from plsc.config.registry import CLIPS
from plsc.config.schema import Range
from plsc.errors import UserError

Norm = Annotated[float, Range(0, low_open=True)]


def named(names: Collection[str], parts: Collection[str]) -> bool:
    """Tell whether any of `parts` occurs in one of the `names` of a parameter."""
    return any(part in name for part in parts for name in names)


class GradClip(Protocol):
    """Says how gradients are clipped, replicated and sharded ones alike.

    Attributes:
        no_clip_list: parameters whose name contains one of these texts neither count nor change.
        by_tensor: whether `factor` asks for each tensor's own norm, not for the norm of all.
        limits: between which values gradients are kept, the loss scale taken away; None for any.

    """

    no_clip_list: Sequence[str]
    by_tensor: bool
    limits: tuple[float, float] | None

    def factor(self, norm: float) -> float:
        """Return what a gradient is multiplied by, from a norm without the loss scale."""


def clips(clip: GradClip | None, *names: str) -> bool:
    """Tell whether the parameter that has these names is clipped."""
    return clip is not None and not named(names, clip.no_clip_list)


@CLIPS.register
class ClipGradByGlobalNorm:
    """Scale all gradients by clip_norm / (norm + 1e-6) where their joint norm is above clip_norm.

    `always_clip` scales up as well, so that every step's gradient has norm clip_norm unless
    `clip_norm_max` caps the factor. Parameters whose name contains a text of `no_clip_list`
    neither count nor are scaled.
    """

    by_tensor, limits = False, None

    def __init__(
        self,
        clip_norm: Norm,
        clip_norm_max: Norm | None = None,
        always_clip: bool = False,
        no_clip_list: tuple[str, ...] = (),
    ):
        self.clip_norm, self.clip_norm_max = clip_norm, clip_norm_max
        self.always_clip = always_clip
        self.no_clip_list = tuple(no_clip_list)

    def factor(self, norm: float) -> float:
        """Return what the gradients of joint norm `norm` are multiplied by."""
        if not self.always_clip and norm <= self.clip_norm:
            return 1.0
        factor = self.clip_norm / (norm + 1e-6)
        return factor if self.clip_norm_max is None else min(factor, self.clip_norm_max)


@CLIPS.register
class ClipGradByNorm:
    """Scale each gradient whose own norm is above clip_norm to that norm, as Paddle's class does.

    The rows of a sharded parameter are one tensor: their norm is that of all ranks' rows.
    """

    by_tensor, limits = True, None

    def __init__(self, clip_norm: Norm, no_clip_list: tuple[str, ...] = ()):
        self.clip_norm, self.no_clip_list = clip_norm, tuple(no_clip_list)

    def factor(self, norm: float) -> float:
        """Return what a gradient of norm `norm` is multiplied by."""
        return self.clip_norm / max(norm, self.clip_norm)


@CLIPS.register
class ClipGradByValue:
    """Keep each number of a gradient from `min` (−max if not given) to `max`, as Paddle's class."""

    by_tensor = False

    def __init__(self, max: Norm, min: float | None = None, no_clip_list: tuple[str, ...] = ()):
        low = -max if min is None else min
        if low >= max:
            raise UserError(f"Optimizer.grad_clip: min {min} must be below max {max}")
        self.limits = (low, max)
        self.no_clip_list = tuple(no_clip_list)

    def factor(self, norm: float) -> float:
        """Return 1: no norm matters."""
        return 1.0
