"""Face images for training and verification, from text lists or made of noise."""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from plsc.data.label_list import LabelList, read_pairs
from plsc.data.transforms import BadImage, build_transforms
from plsc.errors import UserError
from plsc.registry import DATASETS
from plsc.schema import Range

IMAGE_SHAPE = (3, 112, 112)
DEFAULT_TRANSFORMS: list[Any] = ["DecodeImage", "NormalizeImage", "ToCHWImage"]
FILES_TO_TRY = 3  # at start: a wrong image_root shows at once, without a look at each file


class FaceImages(ABC):
    """Image files by number, decoded and transformed to float32 [3, 112, 112].

    A subclass says how many there are, reads their bytes, and knows where each comes from.
    """

    def __init__(self, transform_ops: list[Any] | None):
        self._transforms = build_transforms(
            DEFAULT_TRANSFORMS if transform_ops is None else transform_ops
        )

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are."""

    @abstractmethod
    def read(self, index: int) -> bytes:
        """The image file.

        Raises:
            BadImage: it cannot be read.

        """

    @abstractmethod
    def where(self, index: int) -> str:
        """The image's name for messages."""

    def image(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """Image `index`, float32 [3, 112, 112].

        Raises:
            BadImage: it cannot be read or decoded, or has another size.
            UserError: the transforms do not end in [3, h, w].

        """
        try:
            image = self._transforms(self.read(index), rng)
            if image.ndim != 3 or image.shape[0] != 3:
                raise UserError(
                    f"transform_ops give an image of shape {list(image.shape)}: end them with "
                    "ToCHWImage"
                )
            if image.shape != IMAGE_SHAPE:
                raise BadImage(
                    f"the image is {image.shape[2]}x{image.shape[1]} (width x height), faces must "
                    "be 112x112: align and crop them first"
                )
        except BadImage as error:
            raise BadImage(f"{self.where(index)}: {error}") from error
        return image.astype(np.float32, copy=False)


class LabelledImages(FaceImages):
    """Images with classes, as training takes them.

    Attributes:
        labels: int64 [n], classes from 0 on.
        num_classes: the largest label plus one.
        skipped: of `on_bad="skip"`: what was wrong with the images that others stood in for.

    """

    def __init__(
        self,
        labels: np.ndarray,
        transform_ops: list[Any] | None,
        on_bad: Literal["error", "skip"],
    ):
        super().__init__(transform_ops)
        self.labels = labels
        self.num_classes = int(labels.max()) + 1
        self.skipped: dict[int, str] = {}
        self._on_bad = on_bad

    def __len__(self) -> int:
        return len(self.labels)

    def get(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Image float32 [3, 112, 112] and label.

        With `on_bad="skip"` the next image that can be read stands in for one that cannot.

        Raises:
            UserError: the image cannot be used; or, skipping, none of them can.

        """
        for candidate in range(index, index + len(self)):
            row = candidate % len(self)
            try:
                return self.image(row, rng), int(self.labels[row])
            except BadImage as error:
                if self._on_bad == "error":
                    raise
                self.skipped[row] = str(error)
        raise UserError(f"none of the {len(self)} images can be read; first: {self.skipped[index]}")


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a path that holds a zero byte
        reason = getattr(error, "strerror", None) or error
        raise BadImage(f"cannot be read: {reason}") from error


def _try_files(paths: list[str], image_root: str, listed_in: str) -> None:
    if not Path(image_root).is_dir():
        raise UserError(f"image_root: {image_root} is not a folder")
    for path in paths:
        if not os.path.isfile(path):
            raise UserError(
                f"{path}: no such file, {listed_in} lists it: is image_root {image_root!r} right?"
            )


@DATASETS.register
class FaceIdentificationDataset(LabelledImages):
    """Images listed as `path<delimiter>label`; a path is absolute or below `image_root`."""

    def __init__(
        self,
        image_root: str,
        cls_label_path: str,
        transform_ops: list[Any] | None = None,
        delimiter: str = "\t",
        on_bad: Literal["error", "skip"] = "error",
    ):
        """Read the list; see `LabelList` and `build_transforms` for what may be wrong with it."""
        self._list = LabelList(cls_label_path, delimiter=delimiter)
        self._root = image_root
        super().__init__(self._list.labels, transform_ops, on_bad)
        first = range(min(FILES_TO_TRY, len(self)))
        _try_files([self._path(row) for row in first], image_root, cls_label_path)

    def _path(self, index: int) -> str:
        return os.path.join(self._root, self._list.image_path(index))

    def read(self, index: int) -> bytes:
        """The image file."""
        return _read_file(self._path(index))

    def where(self, index: int) -> str:
        """The image's path, and the file and line that list it."""
        return f"{self._path(index)} ({self._list.where(index)})"


@DATASETS.register
class FaceVerificationDataset(FaceImages):
    """Pairs of images listed as `path<delimiter>path<delimiter>0 or 1`.

    Images 2i and 2i + 1 are pair i. Mirrored copies of `--flip_test` are left out.

    Attributes:
        issame: bool [P], whether pair i is of one person.

    """

    def __init__(
        self,
        image_root: str,
        cls_label_path: str,
        transform_ops: list[Any] | None = None,
        delimiter: str = "\t",
    ):
        """Read the list; see `read_pairs` and `build_transforms` for what may be wrong with it."""
        super().__init__(transform_ops)
        pairs, self.issame = read_pairs(cls_label_path, delimiter=delimiter)
        self._paths = [os.path.join(image_root, path) for pair in pairs for path in pair]
        _try_files(self._paths[:FILES_TO_TRY], image_root, cls_label_path)

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> bytes:
        """The image file."""
        return _read_file(self._paths[index])

    def where(self, index: int) -> str:
        """The image's path."""
        return self._paths[index]

    def get(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """Image float32 [3, 112, 112]."""
        return self.image(index, rng)


@DATASETS.register
class FaceRandomDataset:
    """Noise from -1 to 1 in place of images, and random classes: for measuring speed."""

    def __init__(
        self,
        num_classes: Annotated[int, Range(1)],
        num_images: Annotated[int, Range(1)] = 51200,
    ):
        self.labels = np.random.default_rng(0).integers(num_classes, size=num_images)
        self.num_classes = num_classes

    def __len__(self) -> int:
        return len(self.labels)

    def get(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Image float32 [3, 112, 112], the same in every epoch, and label."""
        noise = np.random.default_rng(index).random(IMAGE_SHAPE, np.float32)
        return noise * 2 - 1, int(self.labels[index])
