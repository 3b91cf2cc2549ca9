"""Photographs with faces marked in them, as WIDER FACE lists them."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from plsc.config.registry import DATASETS
from plsc.data.lists.face_list import read_face_list
from plsc.data.loader.batch import Fields
from plsc.data.sets.base import BadImage
from plsc.data.sets.marked import MarkedImages
from plsc.data.transforms.face_crop import RandCropFaces
from plsc.data.transforms.normalisation import split_normalisation
from plsc.data.transforms.sample import BOXES, IMAGE, POINTS
from plsc.data.transforms.standard import DecodeImage, build_transforms
from plsc.errors import UserError

FACE_VALUES = 15  # edges, five landmarks x and y, and a label: 1, or -1 without landmarks
DEFAULT_TRANSFORMS: list[Any] = [
    {"DecodeImage": {"to_rgb": False}},
    "RandCropFaces",
    "RandFlipImage",
    {"NormalizeImage": {"scale": 1.0, "mean": [104, 117, 123], "std": [1, 1, 1]}},
    "ToCHWImage",
]


@DATASETS.register
class WiderFaceDataset:
    """Images and faces of RetinaFace's label.txt or WIDER FACE's own lists, for training.

    Faces without a size and images without a face are left out. Without `transform_ops` images are
    prepared as MindFace does it, in 640 x 640 pixels.

    Attributes:
        source: the images, and what is marked in them.
        image_size: side of the images in pixels.
        fields: `images`, `faces` [most, 15] and `count`, how many of these rows are faces; edges
            and landmarks are shares of the image's sides.
        normalise: what makes a batch of images the network's input.
        skipped: of `on_bad="skip"`: what was wrong with the images that others stood in for.

    """

    fields: Fields

    def __init__(
        self,
        label_path: str,
        image_root: str | None = None,
        transform_ops: list[Any] | None = None,
        on_bad: Literal["error", "skip"] = "error",
    ):
        """Read the list, and look whether its first images are there.

        Args:
            label_path: the list; see `plsc.data.lists.face_list`.
            image_root: the folder that its paths begin at; `images` beside the list if not given.
            transform_ops: from the image file on; one of them must be RandCropFaces.
            on_bad: what to do about an image that cannot be used.

        """
        faces = read_face_list(label_path).to_train_on()
        if not len(faces):
            raise UserError(f"{label_path}: no image has a face to learn from")
        self.source = MarkedImages(faces, image_root)
        whole = build_transforms(DEFAULT_TRANSFORMS if transform_ops is None else transform_ops)
        crops = [step for step in whole.transforms if isinstance(step, RandCropFaces)]
        if not crops or not isinstance(whole.transforms[0], DecodeImage):
            raise UserError(
                "transform_ops must begin with DecodeImage and hold RandCropFaces, which gives "
                "all images one size"
            )
        self.image_size = crops[-1].size
        self._transforms, normalisation = split_normalisation(whole)
        if normalisation is None:
            raise UserError("transform_ops must end with NormalizeImage and ToCHWImage")
        self.normalise: Callable[[Any], Any] = normalisation
        side = self.image_size
        self._shape = (side, side, 3) if normalisation.colours_last else (3, side, side)
        self._most = int(np.diff(faces.starts).max())
        self.fields = {
            "images": (self._shape, np.uint8),
            "faces": ((self._most, FACE_VALUES), np.float32),
            "count": ((), np.int64),
        }
        self.skipped: dict[int, str] = {}
        self._on_bad = on_bad

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.source)

    def get(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Return the sample of an image; with `on_bad="skip"` of the next that can be used.

        Raises:
            UserError: the image cannot be used; or, skipping, none of them can.

        """
        for candidate in range(index, index + len(self)):
            row = candidate % len(self)
            try:
                return self._sample(row, rng)
            except BadImage as error:
                if self._on_bad == "error":
                    raise
                self.skipped[row] = str(error)
        raise UserError(f"none of the {len(self)} images can be read; first: {self.skipped[index]}")

    def _sample(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        marked = self.source.faces
        sample = {
            IMAGE: self.source.read(index)[0],
            BOXES: marked.boxes(index),
            POINTS: marked.points[marked.faces(index)],
        }
        try:
            found = self._transforms(sample, rng)
        except BadImage as error:
            raise BadImage(f"{self.source.where(index)}: {error}") from error
        if found[IMAGE].shape != self._shape:
            raise UserError(
                f"transform_ops give an image of shape {list(found[IMAGE].shape)}: RandCropFaces "
                f"must be the last that changes its size, to {list(self._shape)}"
            )
        rows = np.zeros((self._most, FACE_VALUES), np.float32)
        count = len(found[BOXES])
        points = found[POINTS].reshape(count, 10) / self.image_size
        known = ~np.isnan(points).any(axis=1)
        rows[:count, :4] = found[BOXES] / self.image_size
        rows[:count, 4:14] = np.where(known[:, None], points, 0)
        rows[:count, 14] = np.where(known, 1, -1)
        return {"images": found[IMAGE], "faces": rows, "count": count}
