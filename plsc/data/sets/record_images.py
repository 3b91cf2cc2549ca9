"""Training images in MXNet RecordIO files."""

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

from plsc.data.lists.text_lines import MOST_DIGITS
from plsc.data.records.record_index import RecordIndex, count_identities, image_records, open_index
from plsc.data.records.recordio import RecordFile
from plsc.data.sets.base import BadImage, ImageSource
from plsc.data.sets.files import is_folder
from plsc.errors import UserError
from plsc.files.mapped_file import regular


def rec_files(root: str | Path) -> list[Path]:
    """Return the `.rec` file that `root` is, `train.rec` in that folder, or all its `.rec` files.

    Raises:
        UserError: there is none, or nobody may look.

    """
    root = Path(root)
    if not is_folder(root):
        return [root]
    files = rec_files_in(root)
    if not files:
        raise UserError(f"{root}: has no .rec file")
    return files


def rec_files_in(folder: Path) -> list[Path]:
    """Return `train.rec` in the folder, or all its `.rec` files, or nothing.

    Raises:
        UserError: the folder cannot be listed.

    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed: {error.strerror}") from error
    # Hidden files are none: macOS leaves `._train.rec` beside `train.rec`.
    names = [name for name in names if name.endswith(".rec") and not name.startswith(".")]
    files = [path for name in names if os.path.isfile(path := folder / name)]
    whole = folder / "train.rec"
    return [whole] if whole in files else files


@dataclass(frozen=True)
class _Images:
    """The images of one file; `classes_from` says what tells the number of its classes."""

    file: RecordFile
    index: RecordIndex
    num_classes: int | None
    classes_from: str

    def place(self, row: int) -> tuple[int, int]:
        """Return key and byte offset."""
        return int(self.index.keys[row]), int(self.index.offsets[row])

    def read(self, row: int, *, num_classes: int | None) -> tuple[bytes, int]:
        key, offset = self.place(row)
        image, label = self.file.read_image(offset, key=key)
        if num_classes is not None and label >= num_classes:
            raise self.file.fault(
                offset, key, f"label {label}, but {self.classes_from} counts {num_classes} classes"
            )
        return image, label


class RecordImages(ImageSource):
    """Images of `.rec` files (InsightFace's or im2rec's layout), as one set.

    They are in the order of the files, and of the keys in each. Their records alone tell their
    classes: `labels` is None.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        label_space: Literal["shared", "separate"] = "shared",
    ):
        """Read the indexes, and no images; an index that is missing is made.

        Args:
            paths: the files.
            label_space: whether a label means one class in all files, or the classes of each file
                follow those of the files before.

        Raises:
            UserError: a file is missing or damaged, an index does not fit, or the classes are
                `separate` and their number in a file is unknown.

        """
        if not paths:
            raise UserError("a set of record files needs at least one file")
        folders = [Path(path).parent for path in paths]
        # `property` counts the classes of its whole folder. Files that each need a count of their
        # own (`separate`) cannot use it, unless they are alone in their folders.
        whole = [label_space == "shared" or folders.count(folder) == 1 for folder in folders]
        self._parts = [_open(Path(path), whole=own) for path, own in zip(paths, whole, strict=True)]
        self._starts = [0, *accumulate(len(part.index.offsets) for part in self._parts)]
        self.labels = None
        if label_space == "separate":
            counts = [_required_classes(part) for part in self._parts]
            self._limits: list[int | None] = [*counts]
            *self._first_class, self.num_classes = accumulate(counts, initial=0)
        else:
            self.num_classes = _shared_classes(self._parts)
            self._limits = [self.num_classes] * len(paths)
            self._first_class = [0] * len(paths)

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, index: int) -> tuple[bytes, int]:
        """Return the image file and its class.

        Raises:
            BadImage: the record is damaged, holds no image, or its label is no class.

        """
        number, row = self._find(index)
        image, label = self._parts[number].read(row, num_classes=self._limits[number])
        return image, label + self._first_class[number]

    def where(self, index: int) -> str:
        """Return the image's file, record key and byte."""
        number, row = self._find(index)
        key, offset = self._parts[number].place(row)
        return f"{self._parts[number].file.path}: record {key}: byte {offset}"

    def name(self, index: int) -> str:
        """Return the record's key; of several files, behind the file's number."""
        number, row = self._find(index)
        key, _ = self._parts[number].place(row)
        return f"{key}" if len(self._parts) == 1 else f"{number}/{key}"

    def _find(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        number = bisect_right(self._starts, index) - 1
        return number, index - self._starts[number]


def _open(path: Path, *, whole: bool) -> _Images:
    file = RecordFile(path)
    index = open_index(file)
    num_classes, told_by = count_identities(file, index), "record 0"
    if num_classes is None and whole:
        num_classes, told_by = _read_property(path.with_name("property")), "property"
    images = image_records(file, *index)
    if not len(images.offsets):
        raise UserError(f"{path}: has no images")
    return _Images(file, images, num_classes, told_by)


MOST_PROPERTY = 1 << 12  # characters


def _read_property(path: Path) -> int | None:
    """Return the first of `num_classes,height,width`; None without such a file."""
    if not os.path.isfile(path):
        return None
    try:
        with open(path, encoding="ascii", errors="replace", opener=regular) as file:
            text = file.read(MOST_PROPERTY)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    number = text.split(",")[0].strip()
    if not (number.isascii() and number.isdigit() and len(number) <= MOST_DIGITS and int(number)):
        raise UserError(f"{path}: must be num_classes,height,width, got {text[:60]!r}")
    return int(number)


def _required_classes(part: _Images) -> int:
    if part.num_classes is None:
        folder = part.file.path.parent
        raise UserError(
            f"{part.file.path}: label_space: separate needs the number of its classes, which no "
            f"record 0 counts: put the file into a folder of its own (now {folder}) beside a file "
            "`property` with the line num_classes,112,112"
        )
    return part.num_classes


def _shared_classes(parts: Sequence[_Images]) -> int | None:
    counts = [part.num_classes for part in parts if part.num_classes is not None]
    if len(counts) < len(parts):
        return None
    most = max(counts)
    # Parts of a set may each count their own identities alone: then the last labels lie beyond.
    alone = len(parts) == 1
    return most if alone or all(_last_label(part) < most for part in parts) else None


def _last_label(part: _Images) -> int:
    try:
        return part.read(len(part.index.offsets) - 1, num_classes=None)[1]
    except BadImage:
        return 0
