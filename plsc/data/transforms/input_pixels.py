"""What transforms make of pixels, in a few numbers that can travel with a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plsc.data.transforms.standard import DecodeImage, NormalizeImage, build_transforms

ColourValues = tuple[float, float, float]


@dataclass(frozen=True)
class InputPixels:
    """(pixel - mean) / std for pixels from 0 to 255; mean and std in `colour_order`."""

    colour_order: str = "RGB"
    mean: ColourValues = (127.5, 127.5, 127.5)
    std: ColourValues = (127.5, 127.5, 127.5)


def input_pixels(transform_ops: Sequence[Any], key: str = "transform_ops") -> InputPixels:
    """What the transforms of a config list make of pixels.

    Without DecodeImage colours are RGB, without NormalizeImage pixels stay as they are; what
    changes images at random does not count.

    Raises:
        UserError: an unknown name or parameter, or a wrong value; names its place below `key`.

    """
    colour_order, factor, shift = "RGB", [1.0] * 3, [0.0] * 3  # factor · pixel + shift
    for transform in build_transforms(list(transform_ops), key).transforms:
        if isinstance(transform, DecodeImage):
            colour_order = "RGB" if transform.to_rgb else "BGR"
        elif isinstance(transform, NormalizeImage):
            scale, stds = float(transform.scale), transform.std.tolist()
            shift = [
                (scale * before - mean) / std
                for before, mean, std in zip(shift, transform.mean.tolist(), stds, strict=True)
            ]
            factor = [scale * before / std for before, std in zip(factor, stds, strict=True)]
    means = [-offset / slope for offset, slope in zip(shift, factor, strict=True)]
    return InputPixels(colour_order, _neat(means), _neat([1 / slope for slope in factor]))


def _neat(values: list[float]) -> ColourValues:
    """To the precision of float32, in which 1 / 255 is held: 127.5, not 127.49999990314."""
    first, second, third = (float(f"{value:.7g}") + 0.0 for value in values)  # no negative zero
    return first, second, third
