"""The last step of preparing images, done for a whole batch where the backbone runs.

Images travel as uint8, a quarter of the bytes; the device makes floats of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from plsc.data.transforms.standard import Compose, NormalizeImage, ToCHWImage, Transform


def as_given(images: Any) -> Any:
    """Return `images`, which are what a backbone takes already."""
    return images


@dataclass(frozen=True)
class Normalisation:
    """(x · scale - mean) / std in float32, colours first.

    Attributes:
        scale: the factor, float32.
        mean: of each colour, float32 [3].
        std: of each colour, float32 [3].
        colours_last: images arrive as [b, h, w, 3], else as [b, 3, h, w].

    """

    scale: np.float32
    mean: np.ndarray
    std: np.ndarray
    colours_last: bool

    def __call__(self, images: Any) -> Any:
        """Turn a batch uint8 into float32 [b, 3, h, w], of the kind given: numpy's or Paddle's.

        Both give the same bits: each operation rounds once.
        """
        if self.colours_last:
            images = images.transpose([0, 3, 1, 2])
        result = images.astype("float32") * float(self.scale)
        return (result - self._operand(self.mean)) / self._operand(self.std)

    def _operand(self, values: np.ndarray) -> Any:
        """Return one number where the colours share it: to broadcast three takes thrice as long."""
        return float(values[0]) if (values == values[0]).all() else values.reshape(1, 3, 1, 1)


def split_normalisation(compose: Compose) -> tuple[Compose, Normalisation | None]:
    """Return the transforms of single images, and the normalisation that they end in, if they do.

    Where NormalizeImage does not fit in, all are left together, and it says itself what is wrong.
    """
    transforms = list(compose.transforms)
    chw_after = _drop_last(transforms, ToCHWImage)
    if not (transforms and isinstance(transforms[-1], NormalizeImage)):
        return compose, None
    normalize = transforms.pop()
    assert isinstance(normalize, NormalizeImage)
    chw_before = not chw_after and _drop_last(transforms, ToCHWImage)
    if normalize.order not in ("", "hwc" if chw_after else "chw"):
        return compose, None
    parts = normalize.scale, normalize.mean, normalize.std
    return Compose(transforms), Normalisation(*parts, colours_last=chw_after or chw_before)


def _drop_last(transforms: list[Transform], kind: type) -> bool:
    found = bool(transforms) and isinstance(transforms[-1], kind)
    if found:
        transforms.pop()
    return found
