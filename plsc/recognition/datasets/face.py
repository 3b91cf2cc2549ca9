"""Face images for training and verification from text lists, as PLSC's configs name them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from plsc.config.registry import DATASETS
from plsc.config.schema import FilePath, Range
from plsc.data.lists.label_list import ListFormat
from plsc.data.loader.batch import Fields
from plsc.data.sets.files import FILES_TO_TRY, try_files
from plsc.data.sets.list_form import told_delimiter, told_pair_delimiter
from plsc.data.sets.listed import ListedImages
from plsc.data.sets.pairs import BinPairs, ListedPairs
from plsc.data.transforms.align import FACE_SIZE
from plsc.data.transforms.normalisation import as_given
from plsc.errors import UserError
from plsc.recognition.datasets.images import FacePairs, LabelledImages


@DATASETS.register
class FaceIdentificationDataset(LabelledImages):
    """Images listed as `path<delimiter>label`, or as MagFace lists them; paths below a root.

    Without `delimiter` it is told from the list's first lines, a tab before others.
    """

    def __init__(
        self,
        image_root: FilePath,
        cls_label_path: FilePath,
        transform_ops: list[Any] | None = None,
        delimiter: str | None = None,
        list_format: ListFormat = "plsc",
        on_bad: Literal["error", "skip"] = "error",
    ):
        """Read the list; see `ListedImages` for what may be wrong with it."""
        if delimiter is None:
            delimiter = told_delimiter(cls_label_path) if list_format == "plsc" else "\t"
        source = ListedImages(image_root, cls_label_path, delimiter=delimiter, layout=list_format)
        super().__init__(source, transform_ops, on_bad)


@DATASETS.register
class FaceVerificationDataset(FacePairs):
    """Pairs of images listed as `path<delimiter>path<delimiter>0 or 1`.

    Images 2i and 2i + 1 are pair i. Mirrored copies of `--flip_test` are left out. The set is
    called after the folder that its list is in. Without `delimiter` it is told from first lines.
    """

    def __init__(
        self,
        image_root: FilePath,
        cls_label_path: FilePath,
        transform_ops: list[Any] | None = None,
        delimiter: str | None = None,
    ):
        """Read the list; see `read_pairs` for what may be wrong with it."""
        if delimiter is None:
            delimiter = told_pair_delimiter(cls_label_path)
        source = ListedPairs(cls_label_path, image_root, delimiter=delimiter)
        first = range(min(FILES_TO_TRY, len(source)))
        try_files([source.path(index) for index in first], image_root, cls_label_path)
        super().__init__(source, transform_ops, name=Path(cls_label_path).absolute().parent.name)


@DATASETS.register
class FaceVerificationBin(FacePairs):
    """The pairs of a `.bin` file, read without extracting it; images 2i and 2i + 1 are pair i."""

    def __init__(self, bin_path: FilePath, transform_ops: list[Any] | None = None):
        """Read the whole file; see `read_bin` for what may be wrong with it."""
        super().__init__(BinPairs(bin_path), transform_ops, name=Path(bin_path).stem)


@DATASETS.register
class FaceRandomDataset:
    """Noise from -1 to 1 in place of images, and random classes: for measuring speed."""

    fields: Fields = {
        "images": ((3, FACE_SIZE, FACE_SIZE), np.float32),
        "labels": ((), np.int64),
    }
    normalise = staticmethod(as_given)

    def __init__(
        self,
        num_classes: Annotated[int, Range(1)],
        num_images: Annotated[int, Range(1)] = 51200,
    ):
        self.labels = np.random.default_rng(0).integers(num_classes, size=num_images)
        self.num_classes = num_classes
        self.skipped: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def require_classes(self, num_classes: int) -> None:
        """Refuse fewer classes than there are.

        Raises:
            UserError: there are fewer.

        """
        if num_classes < self.num_classes:
            raise UserError(
                f"Model.class_num is {num_classes} but DataLoader.Train.dataset.num_classes is "
                f"{self.num_classes}: set both to the same number"
            )

    def get(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Return `images`: noise, the same in every epoch; and `labels`: its class."""
        noise = np.random.default_rng(index).random((3, FACE_SIZE, FACE_SIZE), np.float32)
        return {"images": noise * 2 - 1, "labels": int(self.labels[index])}
