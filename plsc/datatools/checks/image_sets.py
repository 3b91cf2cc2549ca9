"""Images of training and verification sets, numbered as one."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from plsc.data.sets.base import ImageSource


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """Images that can be read by number; `path` is what the user calls them."""

    path: str
    num_images: int
    read: Callable[[int], tuple[bytes, int]]
    where: Callable[[int], str]

    @classmethod
    def of_source(cls, path: str, source: ImageSource) -> "ImageSet":
        """Return the images of `source`, with or without classes."""
        return cls(path, len(source), source.read, source.where)


class ImageSets:
    """Several sets, whose images are numbered as one."""

    def __init__(self, sets: Sequence[ImageSet]):
        self.sets = tuple(sets)
        self._starts = [0, *accumulate(images.num_images for images in sets)]

    def __len__(self) -> int:
        return self._starts[-1]

    def image(self, row: int) -> tuple[ImageSet, int]:
        """Return the set that image `row` is in, and its number there."""
        number = bisect_right(self._starts, row) - 1
        return self.sets[number], row - self._starts[number]
