"""Clipping by the norm of the whole gradient, replicated and sharded parts together."""

from collections.abc import Collection, Sequence


def named(names: Collection[str], parts: Collection[str]) -> bool:
    """Tell whether any of `parts` occurs in one of the `names` of a parameter."""
    return any(part in name for part in parts for name in names)


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
