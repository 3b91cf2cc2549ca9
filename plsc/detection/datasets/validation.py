"""Photographs on which a detector is measured, at sizes that a protocol says."""

from pathlib import Path
from typing import Literal

from plsc.config.registry import DATASETS
from plsc.data.lists.face_list import read_face_list
from plsc.data.sets.marked import MarkedImages
from plsc.errors import UserError


@DATASETS.register
class WiderFaceValidation:
    """Images and marked faces to measure with, for DataLoader.Eval.

    Attributes:
        source: the images, and what is marked in them.
        ground_truth: folder of the official .mat files, or None.
        protocol: at which sizes images are searched; see `plsc.detection.search.scales_of`.
        name: of the set, for logs: that of the folder of the list.

    """

    def __init__(
        self,
        label_path: str,
        image_root: str | None = None,
        ground_truth: str | None = None,
        protocol: Literal["original", "vga", "mxnet", "multi-scale"] = "original",
    ):
        """Read the list, and look whether its first images are there.

        Args:
            label_path: the list of images and faces; see `plsc.data.lists.face_list`. With
                `ground_truth` this is its wider_face_val.mat, or any list of the same images.
            image_root: the folder that its paths begin at; `images` beside the list if not given.
            ground_truth: folder of wider_face_val.mat and wider_{easy,medium,hard}_val.mat: AP is
                then that of Easy, Medium and Hard.
            protocol: at which sizes images are searched.

        """
        if ground_truth is not None and not Path(ground_truth).is_dir():
            raise UserError(f"ground_truth: {ground_truth} is not a folder")
        self.source = MarkedImages(read_face_list(label_path), image_root)
        self.ground_truth, self.protocol = ground_truth, protocol
        self.name = Path(label_path).absolute().parent.name

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.source)
