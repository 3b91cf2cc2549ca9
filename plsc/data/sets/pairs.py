"""Images in pairs of one person or of two: verification sets, wherever they lie."""

import itertools
import os
from abc import abstractmethod
from pathlib import Path

import numpy as np

from plsc.data.lists.image_root import check_below, shown
from plsc.data.lists.label_list import read_pairs
from plsc.data.lists.lfw_pairs import LfwPair, read_lfw_pairs
from plsc.data.sets.base import NO_CLASS, ImageSource
from plsc.data.sets.bin_file import read_bin
from plsc.data.sets.files import ImageFiles, why_missing
from plsc.errors import UserError

LFW_ENDINGS = (".jpg", ".png", ".jpeg", ".bmp", ".webp")


class PairSet(ImageSource):
    """Images without classes, of which 2i and 2i + 1 are pair i.

    Attributes:
        issame: bool [P], whether pair i is of one person.

    """

    labels: np.ndarray | None = None
    num_classes: int | None = None
    issame: np.ndarray

    def __len__(self) -> int:
        """Return the number of images: twice that of pairs."""
        return 2 * len(self.issame)

    @abstractmethod
    def names(self, index: int) -> tuple[str, ...]:
        """Return what another file may call the image, the shortest name first.

        Of a list the path as it is written there and the absolute one; of a `.bin` file the
        image's number from 0 on, and that behind the file's name: `lfw.bin:17`.
        """

    def name(self, index: int) -> str:
        """Return the first of `names`."""
        return self.names(index)[0]


class BinPairs(PairSet):
    """The pairs of an LFW-style `.bin` file, read without extracting it."""

    def __init__(self, path: str | Path):
        """Read the whole file; see `read_bin` for what may be wrong with it."""
        self._path = path
        self._images, self.issame = read_bin(path)

    def read(self, index: int) -> tuple[bytes, int]:
        """Return the image file, and -1 for no class."""
        return self._images[index], NO_CLASS

    def where(self, index: int) -> str:
        """Return the `.bin` file and the image's number in it."""
        return f"{self._path}: image {index}"

    def names(self, index: int) -> tuple[str, ...]:
        """Return the image's number from 0 on, as it is and behind the file's name."""
        return str(index), f"{Path(self._path).name}:{index}"


class ListedPairs(ImageFiles, PairSet):
    """The pairs of a list `path<delimiter>path<delimiter>0 or 1`, paths below `image_root`."""

    def __init__(
        self,
        list_path: str | Path,
        image_root: str | Path,
        *,
        delimiter: str = "\t",
        pairs: tuple[list[tuple[str, str]], np.ndarray] | None = None,
    ):
        """Read the list, unless its `pairs` are given; see `read_pairs` for what may be wrong."""
        self._list_path, self._root = list_path, str(image_root)
        if pairs is None:
            pairs = read_pairs(list_path, delimiter=delimiter, image_root=self._root)
        else:
            for pair in itertools.chain.from_iterable(pairs[0]):
                check_below(self._root, pair, str(list_path))
        paths, self.issame = pairs
        self._paths = [path for pair in paths for path in pair]

    def path(self, index: int) -> str:
        """Return the file's path."""
        return os.path.join(self._root, self._paths[index])

    def where(self, index: int) -> str:
        """Return the image's path, and the pair that it is in."""
        return f"{shown(self.path(index))} ({self._list_path}: pair {index // 2 + 1})"

    def names(self, index: int) -> tuple[str, ...]:
        """Return the path as listed, and the absolute one."""
        return self._paths[index], os.path.abspath(self.path(index))


class LfwPairs(ImageFiles, PairSet):
    """The pairs of LFW's `pairs.txt`; images are `<image_root>/<name>/<name>_<number, %04d>.jpg`.

    Other endings of image files do as well.
    """

    def __init__(self, pairs_path: str | Path, image_root: str | Path):
        """Read the pairs and look for each image.

        Raises:
            UserError: a line is wrong, or an image is missing or not below `image_root`.

        """
        self._list_path, self._root = pairs_path, str(image_root)
        if not Path(image_root).is_dir():
            raise UserError(f"image_root: {image_root} is not a folder")
        pairs = read_lfw_pairs(pairs_path)
        self.issame = np.array([pair.same for pair in pairs])
        self._files = [self._file(pair, side) for pair in pairs for side in (0, 1)]
        self._lines = [pair.line for pair in pairs]

    def _file(self, pair: LfwPair, side: int) -> str:
        where = f"{self._list_path}:{pair.line}"
        name, number = pair.names[side], pair.numbers[side]
        stem = os.path.join(name, f"{name}_{number:04d}")
        check_below(self._root, stem, where)
        for ending in LFW_ENDINGS:
            if os.path.isfile(path := os.path.join(self._root, stem + ending)):
                return path
        reason = why_missing(os.path.join(self._root, stem + LFW_ENDINGS[0]))
        if reason:
            raise UserError(f"{where}: {shown(stem)}: {reason}")
        raise UserError(
            f"{where}: no image {shown(os.path.join(self._root, stem))} with any of the endings "
            f"{' '.join(LFW_ENDINGS)}: is image_root right?"
        )

    def path(self, index: int) -> str:
        """Return the file's path."""
        return self._files[index]

    def where(self, index: int) -> str:
        """Return the image's path, and the line that names it."""
        return f"{shown(self._files[index])} ({self._list_path}:{self._lines[index // 2]})"

    def names(self, index: int) -> tuple[str, ...]:
        """Return the path below `image_root`, and the absolute one."""
        path = self._files[index]
        return os.path.relpath(path, self._root), os.path.abspath(path)


class ChosenImages(ImageSource):
    """Some images of another set by their numbers there, without classes."""

    labels: np.ndarray | None = None
    num_classes: int | None = None

    def __init__(self, source: ImageSource, rows: list[int]):
        self._source, self._rows = source, rows

    def __len__(self) -> int:
        """Return how many images are chosen."""
        return len(self._rows)

    def read(self, index: int) -> tuple[bytes, int]:
        """Return the image file, and -1 for no class.

        Raises:
            BadImage: it cannot be read.

        """
        return self._source.read(self._rows[index])[0], NO_CLASS

    def where(self, index: int) -> str:
        """Return the image's place in its set."""
        return self._source.where(self._rows[index])

    def name(self, index: int) -> str:
        """Return the image's name in its set."""
        return self._source.name(self._rows[index])


class ChosenPairs(ChosenImages, PairSet):
    """Pairs of images of a set with classes."""

    def __init__(self, source: ImageSource, pairs: np.ndarray, issame: np.ndarray):
        super().__init__(source, pairs.reshape(-1).tolist())
        self.issame = issame

    def names(self, index: int) -> tuple[str, ...]:
        """Return the image's name in its set."""
        return (self.name(index),)


def distinct_images(pairs: PairSet) -> ChosenImages:
    """Return the images of pairs, each once, in the order in which they come first.

    Two are the same if they are called the same; those of a `.bin` file are told apart by number.
    """
    first: dict[str, int] = {}
    for index in range(len(pairs)):
        first.setdefault(pairs.name(index), index)
    return ChosenImages(pairs, list(first.values()))
