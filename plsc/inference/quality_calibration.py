"""`Calibration`: an embedding's magnitude -> a percentile and a quality score for people.

calibration.py reads it from a model's file.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plsc.errors import UserError

Floats = NDArray[np.float64]

VERSION = 1
MIN_IMAGES = 10
LEVELS = np.linspace(0, 100, 101)  # percent, of the quantiles that are kept
LONGEST = 1e100  # no float32 embedding is as long; more would overflow in the arithmetic here
SAME = 1e-3  # relative: float16 tells lengths apart no better
NAME_LENGTH = 200
PREPARED = ("mean", "std", "colour_order", "size")


@dataclass(frozen=True)
class Calibration:
    """The distribution of magnitudes over a reference set of images, and the score that follows.

    The score is the logistic function by which ISO/IEC 29794-5 and its reference implementation
    OFIQ bring native measures to 0..100. Its centre and width are not written down for one network,
    they are those that give the quartiles of the reference set 25 and 75: a quarter of it scores
    below 25, a quarter above 75. Quartiles stay where they are whatever the few worst and best
    images are.

    Attributes:
        quantiles: of the reference set's magnitudes, ascending, one for each whole percent.
        num_images: of the reference set.
        set_name: its name.
        prepared: how the images were prepared for the network: mean, std, colour_order, size. Other
            preparation gives other magnitudes.

    """

    quantiles: tuple[float, ...]
    num_images: int
    set_name: str = ""
    prepared: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(
        cls, magnitudes: ArrayLike, *, set_name: str = "", prepared: Mapping[str, Any] | None = None
    ) -> "Calibration":
        """Return the mapping that a reference set teaches.

        Args:
            magnitudes: [n] L2 norms of the embeddings as the network gives them.
            set_name: what to call the set.
            prepared: how its images were prepared.

        Raises:
            UserError: fewer than 10 magnitudes, one that is no length, or no spread to learn from.

        """
        values = _lengths(magnitudes)
        if len(values) < MIN_IMAGES:
            raise UserError(
                f"a calibration needs {MIN_IMAGES} images or more, better hundreds of all "
                f"qualities; got {len(values)}"
            )
        refuse_constant(values)
        quantiles = np.percentile(values, LEVELS)
        if not _spread(quantiles):
            raise UserError(
                f"half of {len(values)} magnitudes are the same, {quantiles[50]:.6g}: the set does "
                "not show how they spread; leave copies of images out"
            )
        kept = tuple(float(f"{value:.9g}") for value in quantiles)
        return cls(kept, len(values), set_name[:NAME_LENGTH], dict(prepared or {}))

    def percentiles(self, magnitudes: ArrayLike) -> Floats:
        """Return what percentage of the reference set is below; of equal ones half counts.

        Args:
            magnitudes: [n], finite, or NaN, which stays NaN.

        Returns:
            float64 [n], 0..100, piecewise linear between the quantiles.

        """
        values = np.asarray(magnitudes, np.float64)
        places, level_of = np.unique(self.quantiles, return_inverse=True)
        levels = np.bincount(level_of, weights=LEVELS) / np.bincount(level_of)
        return np.interp(values, places, levels, left=0, right=100)

    def scores(self, magnitudes: ArrayLike) -> Floats:
        """Return the quality of each magnitude: 25 and 75 at the quartiles of the reference set.

        Args:
            magnitudes: [n], finite, or NaN, which stays NaN.

        Returns:
            float64 [n], 0..100, rising with the magnitude.

        """
        low, high = self.quantiles[25], self.quantiles[75]
        width = (high - low) / (2 * math.log(3))  # logistic(±ln 3) is 3/4 and 1/4
        scaled = (np.asarray(magnitudes, np.float64) - (low + high) / 2) / width
        return 50 * (1 + np.tanh(scaled / 2))  # the logistic function, without an overflow

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain data, for JSON."""
        return {
            "version": VERSION,
            "set": self.set_name,
            "num_images": self.num_images,
            "prepared": dict(self.prepared),
            "quantiles": list(self.quantiles),
        }

    @classmethod
    def from_dict(cls, content: Any, *, source: str) -> "Calibration":
        """Return what `to_dict` was called on; content is checked, for it may come from anyone.

        Args:
            content: any data; entries with other names are left alone.
            source: where it is from, for messages.

        Raises:
            UserError: it is damaged, or of a version that this one does not know.

        """
        if not isinstance(content, Mapping):
            raise UserError(f"{source}: no quality calibration: {str(content)[:60]!r}")
        version = content.get("version")
        if version != VERSION or isinstance(version, bool):
            raise UserError(
                f"{source}: a quality calibration of version {VERSION} is needed, this one says "
                f"{str(version)[:20]!r}: make it anew with plsc-quality --calibrate"
            )
        checks = {
            "quantiles": _are_quantiles,
            "num_images": lambda value: type(value) is int and value >= MIN_IMAGES,
            "set": _is_name,
            "prepared": _says_preparation,
        }
        for name, holds in checks.items():
            if not holds(content.get(name)):
                shown = str(content.get(name))[:60]
                raise UserError(
                    f"{source}: the quality calibration is damaged: {name} is {shown!r}: make it "
                    "anew with plsc-quality --calibrate"
                )
        prepared = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in content["prepared"].items()
        }
        quantiles = tuple(map(float, content["quantiles"]))
        return cls(quantiles, content["num_images"], content["set"], prepared)


def refuse_constant(magnitudes: ArrayLike) -> None:
    """Refuse magnitudes that are all the same and so say nothing of quality.

    Args:
        magnitudes: [n], finite, n at least 1.

    Raises:
        UserError: they are; where they are 1, with what makes embeddings of length 1.

    """
    values = np.asarray(magnitudes, np.float64)
    least, most = float(values.min()), float(values.max())
    if most - least > SAME * most:
        return
    cause = (
        "the model gives embeddings of length 1, which say nothing of quality; export it with "
        "Export.preprocessing=none"
        if abs(most - 1) <= SAME
        else "they say nothing of quality; are they of copies of one image?"
    )
    raise UserError(f"all {len(values)} magnitudes are the same, {most:.6g}: {cause}")


def _lengths(magnitudes: ArrayLike) -> Floats:
    values = np.asarray(magnitudes, np.float64)
    if values.ndim != 1:
        raise UserError(f"magnitudes must be one number for each image, got {list(values.shape)}")
    bad = np.flatnonzero(~((values >= 0) & (values <= LONGEST)))
    if len(bad):
        raise UserError(f"magnitude {bad[0]} is no length of an embedding: {values[bad[0]]:g}")
    return values


def _spread(quantiles: ArrayLike) -> bool:
    """Tell whether the quartiles are far enough apart to be told apart."""
    values = np.asarray(quantiles, np.float64)
    return bool(values[75] - values[25] > 1e-6 * values[75])


def _are_quantiles(value: Any) -> bool:
    if not _are_numbers(value, len(LEVELS)):
        return False
    values = np.asarray(value, np.float64)
    return bool(values[0] >= 0 and (np.diff(values) >= 0).all()) and _spread(values)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= NAME_LENGTH and (value + "x").isprintable()


def _says_preparation(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        name in PREPARED
        and (item in ("RGB", "BGR") if name == "colour_order" else _are_numbers(item))
        for name, item in value.items()
    )


def _are_numbers(value: Any, count: int | None = None) -> bool:
    """Tell whether they are finite numbers that float64 holds; 2 or 3 without a `count`."""
    counts = (2, 3) if count is None else (count,)
    if not isinstance(value, list | tuple) or len(value) not in counts:
        return False
    return all(type(item) in (int, float) and abs(item) <= LONGEST for item in value)
