"""Image files in pairs of one person or of two: verification sets, wherever they lie."""

import os
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from plsc.data.lists.image_root import check_below, shown
from plsc.data.lists.label_list import LABEL_FILE, read_pairs
from plsc.data.lists.lfw_pairs import LfwPair, read_lfw_pairs
from plsc.data.sets.base import ImageSource
from plsc.data.sets.bin_file import read_bin
from plsc.data.sets.files import read_file
from plsc.errors import UserError

LFW_ENDINGS = (".jpg", ".png", ".jpeg", ".bmp", ".webp")
HEAD_BYTES = 4096


class PairedImages(ABC):
    """Image files; 2i and 2i + 1 are pair i.

    Attributes:
        issame: bool [P], whether pair i is of one person.

    """

    issame: np.ndarray

    def __len__(self) -> int:
        return 2 * len(self.issame)

    @abstractmethod
    def read(self, index: int) -> bytes:
        """The image file.

        Raises:
            BadImage: it cannot be read; the message says where it should be.

        """

    @abstractmethod
    def where(self, index: int) -> str:
        """The image's place for messages."""

    @abstractmethod
    def names(self, index: int) -> tuple[str, ...]:
        """What another file may call the image, the shortest name first.

        Of a list the path as it is written there and the absolute one; of a `.bin` file the
        image's number from 0 on, and that behind the file's name: `lfw.bin:17`.
        """


class BinPairs(PairedImages):
    """The pairs of an LFW-style `.bin` file."""

    def __init__(self, path: str | Path):
        self._path = path
        self._images, self.issame = read_bin(path)

    def read(self, index: int) -> bytes:
        """The image file."""
        return self._images[index]

    def where(self, index: int) -> str:
        """The `.bin` file and the image's number in it."""
        return f"{self._path}: image {index}"

    def names(self, index: int) -> tuple[str, ...]:
        """The image's number from 0 on, as it is and behind the file's name."""
        return str(index), f"{Path(self._path).name}:{index}"


class ListedPairs(PairedImages):
    """The pairs of a list `path<TAB>path<TAB>0 or 1`, paths below `image_root`."""

    def __init__(self, list_path: str | Path, image_root: str | Path):
        pairs, self.issame = read_pairs(list_path)
        self._paths = [path for pair in pairs for path in pair]
        self._list_path, self._root = list_path, str(image_root)
        for number, path in enumerate(self._paths):
            check_below(self._root, path, f"{list_path}: pair {number // 2 + 1}")

    def read(self, index: int) -> bytes:
        """The image file."""
        path = os.path.join(self._root, self._paths[index])
        return read_file(path, lambda: self.where(index))

    def where(self, index: int) -> str:
        """The image's path, and the pair that it is in."""
        path = os.path.join(self._root, self._paths[index])
        return f"{shown(path)} ({self._list_path}: pair {index // 2 + 1})"

    def names(self, index: int) -> tuple[str, ...]:
        """The path as listed, and the absolute one."""
        path = self._paths[index]
        return path, os.path.abspath(os.path.join(self._root, path))


class LfwPairs(PairedImages):
    """The pairs of LFW's `pairs.txt`; images are `<image_root>/<name>/<name>_<number, %04d>.jpg`.

    Other endings of image files do as well.
    """

    def __init__(self, pairs_path: str | Path, image_root: str | Path):
        self._path, self._root = pairs_path, str(image_root)
        if not Path(image_root).is_dir():
            raise UserError(f"image_root: {image_root} is not a folder")
        pairs = read_lfw_pairs(pairs_path)
        self.issame = np.array([pair.same for pair in pairs])
        self._files = [self._file(pair, side) for pair in pairs for side in (0, 1)]
        self._lines = [pair.line for pair in pairs]

    def _file(self, pair: LfwPair, side: int) -> str:
        where = f"{self._path}:{pair.line}"
        name, number = pair.names[side], pair.numbers[side]
        stem = os.path.join(name, f"{name}_{number:04d}")
        check_below(self._root, stem, where)
        for ending in LFW_ENDINGS:
            if os.path.isfile(path := os.path.join(self._root, stem + ending)):
                return path
        raise UserError(
            f"{where}: no image {shown(os.path.join(self._root, stem))} with any of the endings "
            f"{' '.join(LFW_ENDINGS)}: is image_root right?"
        )

    def read(self, index: int) -> bytes:
        """The image file."""
        return read_file(self._files[index], lambda: self.where(index))

    def where(self, index: int) -> str:
        """The image's path, and the line that names it."""
        return f"{shown(self._files[index])} ({self._path}:{self._lines[index // 2]})"

    def names(self, index: int) -> tuple[str, ...]:
        """The path below `image_root`, and the absolute one."""
        path = self._files[index]
        return os.path.relpath(path, self._root), os.path.abspath(path)


class ChosenPairs(PairedImages):
    """Pairs of images of a set with classes."""

    def __init__(self, source: ImageSource, pairs: np.ndarray, issame: np.ndarray):
        self._source, self._rows, self.issame = source, pairs.reshape(-1).tolist(), issame

    def read(self, index: int) -> bytes:
        """The image file."""
        return self._source.read(self._rows[index])[0]

    def where(self, index: int) -> str:
        """The image's place in its set."""
        return self._source.where(self._rows[index])

    def names(self, index: int) -> tuple[str, ...]:
        """The image's name in its set."""
        return (self._source.name(self._rows[index]),)


def open_pairs(path: str | Path, image_root: str | Path | None = None) -> PairedImages | None:
    """A `.bin` file, a list of pairs or LFW's `pairs.txt`; None if `path` is none of them.

    Args:
        path: the file; what it is shows in its ending and its first line. Or a folder with a
            list of pairs called `label.txt`.
        image_root: the folder that a list's paths begin at; the list's own if not given.

    Raises:
        UserError: it is damaged, or names images that are not there or not below `image_root`.

    """
    path = Path(path)
    if path.suffix == ".bin":
        return BinPairs(path)
    if (path / LABEL_FILE).is_file():  # what is made of a .bin
        path /= LABEL_FILE
    if not path.is_file():
        return None
    root = path.parent if image_root is None else image_root
    first, second = _first_lines(path)
    fields = first.rsplit(b"\t", 2)
    if len(fields) == 3 and fields[2].strip() in (b"0", b"1"):
        return ListedPairs(path, root)
    numbers = first.split()
    # Paths may be numbers, too: `0001<TAB>5` begins a list of images.
    if 1 <= len(numbers) <= 2 and all(map(bytes.isdigit, numbers)) and len(second.split()) != 2:
        return LfwPairs(path, root)
    return None


def _first_lines(path: Path) -> tuple[bytes, bytes]:
    """The first two lines that are not blank."""
    try:
        with open(path, "rb") as file:
            lines = [line for line in file.read(HEAD_BYTES).splitlines() if line.strip()]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    first, second, *_ = *lines, b"", b""
    return first, second
