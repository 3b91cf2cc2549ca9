"""The comparison of two runs for outputs of any meaning, also with a varying number of rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from plsc.files.onnx_file import Arrays

# Figures of float32 on another engine: relative differences below 1e-5 were seen. A scale or a bias
# that got lost costs orders of magnitude more.
MAX_RELATIVE_DIFFERENCE = 1e-3
MAX_HALF_DIFFERENCE = 0.02  # of float16 weights


class Agreement(Protocol):
    """The result of a comparison; as text a few words on how near the two are."""

    @property
    def equal(self) -> bool:
        """Tell whether the difference is one of rounding."""
        ...


@dataclass(frozen=True)
class Differences:
    """Distances between two runs, and the largest that are allowed.

    Attributes:
        relative: largest difference as a share of the output's largest value; infinite where whole
            numbers differ.
        output: which output that is of.
        unmatched: largest share of rows without an equal in the other run.
        max_relative, max_unmatched: the bounds.

    """

    relative: float
    output: str
    unmatched: float
    max_relative: float
    max_unmatched: float

    @property
    def equal(self) -> bool:
        """Tell whether both shares keep to their bounds; a NaN does not."""
        return self.relative <= self.max_relative and self.unmatched <= self.max_unmatched

    def __str__(self) -> str:
        """Return the figures in a few words."""
        rows = f", {self.unmatched:.1%} of rows without a match" if self.unmatched else ""
        return f"largest difference {self.relative:.2g} of {self.output}'s largest value{rows}"


@dataclass(frozen=True)
class Tolerance:
    """Outputs agree where they differ by no more than rounding; whole numbers where they are equal.

    Of an output with a varying number of rows, each row has to have its equal in the other run, in
    any order. Where a threshold decides which rows there are, rounding may bring one more or less:
    `max_unmatched` is the share of rows that may be without a match.
    """

    max_relative: float = MAX_RELATIVE_DIFFERENCE
    max_relative_fp16: float = MAX_HALF_DIFFERENCE
    max_unmatched: float = 0.0

    def compare(
        self, expected: Arrays, found: Arrays, *, rows: Mapping[str, str], fp16: bool
    ) -> Differences:
        """Compare `found` with `expected`; arguments as of export.spec.Comparison."""
        bound = self.max_relative_fp16 if fp16 else self.max_relative
        apart = {
            name: _relative(expected[name], found[name]) for name in expected if name not in rows
        }
        unmatched = 0.0
        for axis in dict.fromkeys(rows.values()):
            names = [name for name, its in rows.items() if its == axis]
            share, theirs = _match(
                [expected[name] for name in names], [found[name] for name in names], bound
            )
            unmatched = max(unmatched, share)
            apart |= dict(zip(names, theirs, strict=True))
        # max() passes over a NaN that does not come first.
        worst = max(apart, key=lambda name: np.inf if np.isnan(apart[name]) else apart[name])
        return Differences(apart[worst], worst, unmatched, bound, self.max_unmatched)


def _relative(expected: NDArray[Any], found: NDArray[Any]) -> float:
    """Return the largest difference as a share of the largest expected value."""
    if not expected.size:
        return 0.0
    return float(_distances(expected, found, _largest(expected)).max())


def _largest(expected: NDArray[Any]) -> float:
    """Return the largest value of an output; 0 for whole numbers, which are not rounded."""
    if not expected.size or not np.issubdtype(expected.dtype, np.floating):
        return 0.0
    return float(np.abs(expected).max())


def _distances(expected: NDArray[Any], found: NDArray[Any], largest: float) -> NDArray[np.float64]:
    """Return differences as shares of `largest`; where that is 0, infinity for any difference."""
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if largest:
        return difference / largest
    return np.where(difference == 0, 0.0, np.inf)


def _match(
    expected: list[NDArray[Any]], found: list[NDArray[Any]], bound: float
) -> tuple[float, list[float]]:
    """Pair rows that are equal in each of some outputs, the nearest first.

    Returns:
        The share of rows without a match, of the run that has more rows; and each output's largest
        difference in matched rows.

    """
    num_expected, num_found = len(expected[0]), len(found[0])
    if any(len(array) != num_found for array in found):
        return 1.0, [0.0] * len(expected)
    apart = [np.zeros((num_expected, num_found)) for _ in expected]
    for ours, theirs, distance in zip(expected, found, apart, strict=True):
        largest = _largest(ours)
        for column in np.ndindex(ours.shape[1:]):  # one by one: all at once would take much memory
            place = (slice(None), *column)
            values = _distances(ours[place][:, None], theirs[place], largest)
            np.maximum(distance, values, out=distance)
    together = np.maximum.reduce(apart)
    pairs = np.argwhere(together <= bound)
    pairs = pairs[np.argsort(together[tuple(pairs.T)], kind="stable")]
    ours_left, theirs_left, matched = set(range(num_expected)), set(range(num_found)), []
    for row, other in pairs.tolist():
        if row in ours_left and other in theirs_left:
            ours_left.remove(row)
            theirs_left.remove(other)
            matched.append((row, other))
    places = tuple(np.array(matched, int).reshape(-1, 2).T)
    share = max(len(ours_left), len(theirs_left)) / max(num_expected, num_found, 1)
    return share, [float(distance[places].max(initial=0.0)) for distance in apart]
