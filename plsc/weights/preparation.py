"""Warn where a config prepares images otherwise than those that its weights were trained on."""

import math

from plsc.config.sections import Config
from plsc.data.transforms.input_pixels import InputPixels, colour_text, pixels_of
from plsc.weights.weights import Weights

NEAR = 1e-4  # of a pixel's value: 0.0039216 is meant to be 1/255


def preparation_notes(weights: Weights, config: Config) -> list[str]:
    """Return a warning for each set of the config whose images `weights` take for something else.

    Where all are prepared as they should be, one line says so; where nobody knows, none.
    """
    expected = weights.trained_on
    if expected is None:
        return []
    trained = f"{weights.trained_by} trained these weights on {_shown(expected)}"
    datasets, warnings = config.DataLoader.datasets, []
    for dataset in datasets:
        found = pixels_of(dataset)
        if not _alike(found, expected):
            warnings.append(
                f"WARNING: {dataset.key}.transform_ops gives {_shown(found)}; {trained} (in pixels "
                f"from 0 to 255): set {_remedy(expected)}, or embeddings are not what they could be"
            )
    if warnings or not datasets:
        return warnings
    return [f"{trained}, as transform_ops prepare images"]


def _alike(found: InputPixels, expected: InputPixels) -> bool:
    pairs = zip((*found.mean, *found.std), (*expected.mean, *expected.std), strict=True)
    near = (math.isclose(one, other, rel_tol=NEAR, abs_tol=NEAR) for one, other in pairs)
    return found.colour_order == expected.colour_order and all(near)


def _shown(pixels: InputPixels) -> str:
    mean, std = colour_text(pixels.mean), colour_text(pixels.std)
    return f"{pixels.colour_order}, mean {mean}, std {std}"


def _remedy(pixels: InputPixels) -> str:
    mean, std = ([round(value / 255, 6) for value in each] for each in (pixels.mean, pixels.std))
    to_rgb = pixels.colour_order == "RGB"
    return f"DecodeImage.to_rgb: {to_rgb} and NormalizeImage.mean: {mean}, std: {std}"
