"""The data sets of faces that configs name: sets of images, their transforms, their use."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from plsc.data.loader.batch import Fields
from plsc.data.sets.base import BadImage, ImageSource
from plsc.data.sets.pairs import PairSet
from plsc.data.transforms.align import FACE_SIZE
from plsc.data.transforms.augment import RandomChange
from plsc.data.transforms.normalisation import as_given, split_normalisation
from plsc.data.transforms.sample import IMAGE
from plsc.data.transforms.standard import (
    DEFAULT_TRANSFORMS,
    DecodeImage,
    RandFlipImage,
    ToCHWImage,
    build_transforms,
)
from plsc.errors import UserError

PROBES = 200  # images whose labels are read at start where no list has them
KEEP_UINT8 = (DecodeImage, RandFlipImage, RandomChange, ToCHWImage)


class FaceImages:
    """Images of a source by number, decoded and transformed.

    Attributes:
        source: the image files.
        fields: shape and dtype of `images`; uint8 if only transforms that keep it are named before
            a normalisation at the end, else float32.
        normalise: what makes a batch of these images, uint8 [b, 112, 112, 3], the backbone's input,
            float32 [b, 3, 112, 112]; done once per batch, and not where images are read.

    """

    fields: Fields
    normalise: Callable[[Any], Any]

    def __init__(self, source: ImageSource, transform_ops: list[Any] | None):
        self.source = source
        given = DEFAULT_TRANSFORMS if transform_ops is None else transform_ops
        whole = build_transforms(given)
        if not whole.transforms or not isinstance(whole.transforms[0], DecodeImage):
            raise UserError("transform_ops must begin with DecodeImage: images come as files")
        self._transforms, normalisation = split_normalisation(whole)
        self.normalise = normalisation or as_given
        # Without a normalisation at their end the transforms give the backbone's input themselves.
        keep = all(isinstance(transform, KEEP_UINT8) for transform in self._transforms.transforms)
        self._dtype = np.uint8 if keep and normalisation is not None else np.float32
        last = normalisation is not None and normalisation.colours_last
        self._shape = (FACE_SIZE, FACE_SIZE, 3) if last else (3, FACE_SIZE, FACE_SIZE)
        self.fields = {"images": (self._shape, self._dtype)}

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.source)

    def where(self, index: int) -> str:
        """Return the image's place for messages."""
        return self.source.where(index)

    def pixels(self, encoded: bytes, index: int, rng: np.random.Generator) -> np.ndarray:
        """Return the image file `encoded`, number `index`, as `normalise` wants it.

        Raises:
            BadImage: it cannot be decoded, or has another size.
            UserError: the transforms do not end in [3, h, w].

        """
        try:
            image = self._transforms({IMAGE: encoded}, rng)[IMAGE]
            if image.shape != self._shape:
                self._refuse_shape(image.shape)
        except BadImage as error:
            raise BadImage(f"{self.where(index)}: {error}") from error
        return image if self._dtype == np.uint8 else image.astype(np.float32, copy=False)

    def _refuse_shape(self, shape: tuple[int, ...]) -> None:
        colours = self._shape.index(3)
        if len(shape) != 3 or shape[colours] != 3:
            raise UserError(
                f"transform_ops give an image of shape {list(shape)}: end them with ToCHWImage"
            )
        height, width = (extent for axis, extent in enumerate(shape) if axis != colours)
        raise BadImage(
            f"the image is {width}x{height} (width x height), faces must be "
            f"{FACE_SIZE}x{FACE_SIZE}: align and crop them first"
        )


class FacePairs(FaceImages):
    """Images of a verification set; 2i and 2i + 1 are pair i.

    Attributes:
        name: of the set, for logs: the file's or folder's.
        issame: bool [P], whether pair i is of one person.

    """

    source: PairSet

    def __init__(self, source: PairSet, transform_ops: list[Any] | None, *, name: str):
        super().__init__(source, transform_ops)
        self.name, self.issame = name, source.issame

    def get(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Return `images`: the image, as `normalise` wants it."""
        return {"images": self.pixels(self.source.read(index)[0], index, rng)}


class LabelledImages(FaceImages):
    """Images of a source with their classes, as training takes them.

    Attributes:
        skipped: of `on_bad="skip"`: what was wrong with the images that others stood in for, by
            index; a loader takes it away with each batch.

    """

    def __init__(
        self,
        source: ImageSource,
        transform_ops: list[Any] | None,
        on_bad: Literal["error", "skip"],
    ):
        super().__init__(source, transform_ops)
        self.fields = {**self.fields, "labels": ((), np.int64)}
        self.skipped: dict[int, str] = {}
        self._on_bad = on_bad
        self._num_classes: int | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what is to be said of the set when a run begins."""
        return (f"training set: {self.source.left_out}",) if self.source.left_out else ()

    @property
    def num_classes(self) -> int | None:
        """Return the largest class plus one; None if unknown before all records are read."""
        return self.source.num_classes

    def require_classes(self, num_classes: int) -> None:
        """Refuse labels from `num_classes` on: all at once if they are known, else as they come.

        Where only the images' own records have the labels, some of them are looked at now.

        Raises:
            UserError: there is such a label; says what Model.class_num must be.

        """
        self._num_classes = num_classes
        known = self.source.num_classes
        if known is not None and known > num_classes:
            raise UserError(
                f"Model.class_num is {num_classes} but the training set has labels up to "
                f"{known - 1}: set Model.class_num to {known} or more"
            )
        if self.source.labels is not None:
            return
        for index in np.unique(np.linspace(0, len(self) - 1, PROBES).astype(np.int64)).tolist():
            try:
                self._read(index)
            except BadImage:
                if self._on_bad == "error":
                    raise

    def _read(self, index: int) -> tuple[bytes, int]:
        encoded, label = self.source.read(index)
        if self._num_classes is not None and label >= self._num_classes:
            raise UserError(
                f"{self.where(index)}: label {label}, but Model.class_num is {self._num_classes}: "
                f"set Model.class_num to {label + 1} or more"
            )
        return encoded, label

    def get(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Return `images`: the image, as `normalise` wants it; and `labels`: its class.

        With `on_bad="skip"` the next image that can be read stands in for one that cannot.

        Raises:
            UserError: the image cannot be used; or, skipping, none of them can.

        """
        for candidate in range(index, index + len(self)):
            row = candidate % len(self)
            try:
                encoded, label = self._read(row)
                return {"images": self.pixels(encoded, row, rng), "labels": label}
            except BadImage as error:
                if self._on_bad == "error":
                    raise
                self.skipped[row] = str(error)
        raise UserError(f"none of the {len(self)} images can be read; first: {self.skipped[index]}")
