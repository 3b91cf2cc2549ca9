"""Training from one folder of images per identity."""

from typing import Any, Literal

from plsc.config.registry import DATASETS
from plsc.config.schema import FilePath
from plsc.data.sets.folder import FolderImages
from plsc.recognition.datasets.images import LabelledImages


@DATASETS.register
class FaceFolderDataset(LabelledImages):
    """A folder per identity; classes are the folders' places in the order of their names."""

    def __init__(
        self,
        root: FilePath,
        transform_ops: list[Any] | None = None,
        on_bad: Literal["error", "skip"] = "error",
    ):
        """List the folders; see `FolderImages` for what may be wrong with them."""
        super().__init__(FolderImages(root), transform_ops, on_bad)
