"""Describe what transforms make of pixels, in a few numbers that can travel with a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plsc.config.component import Component
from plsc.config.sections import Config
from plsc.data.transforms.standard import (
    DEFAULT_TRANSFORMS,
    DecodeImage,
    NormalizeImage,
    build_transforms,
)

ColourValues = tuple[float, float, float]


@dataclass(frozen=True)
class InputPixels:
    """(pixel - mean) / std for pixels from 0 to 255; mean and std in `colour_order`."""

    colour_order: str = "RGB"
    mean: ColourValues = (127.5, 127.5, 127.5)
    std: ColourValues = (127.5, 127.5, 127.5)

    def metadata(self) -> dict[str, str]:
        """Return what a model's metadata says of them: colour order, mean and std as texts."""
        mean, std = (colour_text(values, digits=7) for values in (self.mean, self.std))
        return {"color_order": self.colour_order, "mean": mean, "std": std}


def input_pixels(transform_ops: Sequence[Any], key: str = "transform_ops") -> InputPixels:
    """Return what the transforms of a config list make of pixels.

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


def pixels_of(dataset: Component) -> InputPixels:
    """Return what the transforms of a config's data set make of pixels, the usual ones if none.

    Raises:
        UserError: as `input_pixels`.

    """
    given = dataset.params.get("transform_ops") or DEFAULT_TRANSFORMS
    return input_pixels(given, f"{dataset.key}.transform_ops")


def trained_on(config: Config) -> InputPixels:
    """Return what the config makes of pixels: its training set, else the first set to evaluate."""
    datasets = config.DataLoader.datasets
    return pixels_of(datasets[0]) if datasets else InputPixels()


def colour_text(values: Sequence[float], *, digits: int = 6) -> str:
    """Return the numbers in `digits` digits, apart by blanks; one number where colours share it."""
    shown = values[:1] if len(set(values)) == 1 else values
    return " ".join(f"{value:.{digits}g}" for value in shown)


def _neat(values: list[float]) -> ColourValues:
    """Round to float32's precision, in which 1 / 255 is held: 127.5, not 127.49999990314."""
    first, second, third = (float(f"{value:.7g}") + 0.0 for value in values)  # no negative zero
    return first, second, third
