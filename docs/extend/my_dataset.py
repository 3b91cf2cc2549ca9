"""A data set of your own, derived from one of plsc's: the first images of a record set."""

from typing import Annotated, Any

from plsc.config.registry import DATASETS
from plsc.config.schema import FilePath, Range
from plsc.recognition.datasets.records import FaceRecordDataset


@DATASETS.register
class FirstImages(FaceRecordDataset):
    """The first `count` images of `root`."""

    def __init__(
        self,
        root: FilePath,
        transform_ops: list[Any] | None = None,
        count: Annotated[int, Range(1)] = 12,
    ):
        super().__init__(root, transform_ops)
        self.count = count

    def __len__(self) -> int:
        return min(self.count, super().__len__())
