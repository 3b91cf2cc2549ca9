"""Training straight from MXNet RecordIO files."""

from typing import Any, Literal

from plsc.config.registry import DATASETS
from plsc.config.schema import FilePath
from plsc.data.sets.record_images import RecordImages, rec_files
from plsc.recognition.datasets.images import LabelledImages


@DATASETS.register
class FaceRecordDataset(LabelledImages):
    """Images of `.rec` files with their `.idx`, read where they are.

    A root is a `.rec` file, a folder with `train.rec`, or a folder of several `.rec` files, which
    are one set; so are several roots. They share their classes (parts of one set), or, with
    `label_space: separate`, the classes of each follow those of the one before (different people).
    """

    def __init__(
        self,
        root: FilePath | list[FilePath],
        transform_ops: list[Any] | None = None,
        label_space: Literal["shared", "separate"] = "shared",
        on_bad: Literal["error", "skip"] = "error",
    ):
        """Read the indexes; one that is missing is made by a scan of its records."""
        roots = [root] if isinstance(root, str) else root
        files = [path for each in roots for path in rec_files(each)]
        super().__init__(RecordImages(files, label_space=label_space), transform_ops, on_bad)
