"""Random square parts of photographs with faces, as detectors are trained on.

A part is chosen so that at least one face lies wholly in it. Boxes and landmarks move with the
image; faces whose centre is outside of the part are left out, boxes are cut off at its edges and
landmarks are not. The published augmentation is MindFace's; wider crops are SCRFD's
(arXiv:2105.04714).
"""

from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray

from plsc.config.registry import TRANSFORMS
from plsc.config.schema import Range
from plsc.data.transforms.sample import BOXES, IMAGE, POINTS, Sample
from plsc.errors import UserError

Region = tuple[int, int, int, int]  # left, top, width and height, in pixels of the image
TRIALS, CANDIDATES = 250, 2  # regions that are drawn at most, and kept to choose from
LEAST_SIDE = 1.0  # pixels of the result: smaller boxes are left out
INTERPOLATIONS = (
    cv2.INTER_LINEAR,
    cv2.INTER_CUBIC,
    cv2.INTER_AREA,
    cv2.INTER_NEAREST,
    cv2.INTER_LANCZOS4,
)


@TRANSFORMS.register
class RandCropFaces:
    """A random square with faces, in `size` x `size` pixels; the whole image where none is found.

    The square's side is the image's shorter one times a number drawn evenly from `scale`, or with
    probability `whole` times 1. Beyond the image, and beside a whole image that is no square, is
    `fill`, in the order of DecodeImage's colours. Enlarging or shrinking is done in one of five
    ways, at random.
    """

    def __init__(
        self,
        size: Annotated[int, Range(32)] = 640,
        scale: Annotated[tuple[float, float], Range(0.05, 10)] = (0.3, 1.0),
        whole: Annotated[float, Range(0, 1)] = 0.2,
        fill: Annotated[tuple[int, int, int], Range(0, 255)] = (104, 117, 123),
    ):
        if scale[0] > scale[1]:
            raise UserError(
                f"RandCropFaces.scale must be the lower bound and the upper one, got {list(scale)}"
            )
        self.size, self.scale, self.whole, self.fill = size, scale, whole, fill

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the image [size, size, 3] with the boxes and points of the faces in it.

        Raises:
            UserError: the sample has no boxes, or the colours are first.

        """
        if BOXES not in sample or sample[IMAGE].shape[2] != 3:
            raise UserError(
                "RandCropFaces takes images [h, w, 3] with boxes: name it behind DecodeImage, for "
                "a data set of faces in photographs"
            )
        height, width = sample[IMAGE].shape[:2]
        regions = [*self.candidates(height, width, sample[BOXES], rng), (0, 0, width, height)]
        inside = next((region for region in regions if self._keeps_some(sample, region)), None)
        interpolation = INTERPOLATIONS[rng.integers(len(INTERPOLATIONS))]
        return cut_faces(
            sample,
            inside or regions[-1],
            size=self.size,
            fill=self.fill,
            interpolation=interpolation,
        )

    def candidates(
        self, height: int, width: int, boxes: NDArray[np.floating], rng: np.random.Generator
    ) -> list[Region]:
        """Return squares that hold at least one face whole, in the order to try them in."""
        found: list[Region] = []
        short = min(height, width)
        for _ in range(TRIALS):
            scale = 1.0 if rng.random() < self.whole else rng.uniform(*self.scale)
            side = max(1, int(scale * short))
            left, top = (_offset(extent, side, rng) for extent in (width, height))
            edges = np.array([left, top, left + side, top + side])
            held = (boxes[:, :2] >= edges[:2]) & (boxes[:, 2:] <= edges[2:])
            if held.all(axis=1).any():
                found.append((left, top, side, side))
                if len(found) == CANDIDATES:
                    break
        rng.shuffle(found)
        return found

    def _keeps_some(self, sample: Sample, region: Region) -> bool:
        return bool(_kept(sample[BOXES], region, self.size)[0].any())


def _offset(extent: int, side: int, rng: np.random.Generator) -> int:
    """Return where a side begins: within the image, or so that the image is within it."""
    low, high = sorted((0, extent - side))
    return int(rng.integers(low, high, endpoint=True))


def cut_faces(
    sample: Sample,
    region: Region,
    *,
    size: int,
    fill: tuple[int, int, int],
    interpolation: int = cv2.INTER_LINEAR,
) -> Sample:
    """Return a region of the image as a square of `size` pixels, and the faces in it.

    A region that is no square is filled up at the right or at the bottom.
    """
    left, top, width, height = region
    side = max(width, height)
    pixels = _part(sample[IMAGE], region, side, fill)
    if side != size:
        pixels = cv2.resize(pixels, (size, size), interpolation=interpolation)
    kept, boxes = _kept(sample[BOXES], region, size)
    result = {**sample, IMAGE: pixels, BOXES: boxes[kept].astype(np.float32)}
    if POINTS in sample:
        points = (sample[POINTS][kept] - [left, top]) * (size / side)
        result[POINTS] = points.astype(np.float32)
    return result


def _part(
    image: NDArray[np.uint8], region: Region, side: int, fill: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Return the pixels [side, side, 3] of a region from its corner on."""
    left, top, width, height = region
    rows, columns = image.shape[:2]
    from_row, from_column = max(0, top), max(0, left)
    inside = image[from_row : min(rows, top + height), from_column : min(columns, left + width)]
    if inside.shape[:2] == (side, side):
        return inside
    pixels = np.empty((side, side, 3), image.dtype)
    pixels[:] = fill
    row, column = from_row - top, from_column - left
    pixels[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
    return pixels


def _kept(
    boxes: NDArray[np.floating], region: Region, size: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which boxes stay, and all of them in pixels of the result."""
    left, top, width, height = region
    side = max(width, height)
    moved = boxes.astype(np.float64) - np.tile([left, top], 2)
    centres = (moved[:, :2] + moved[:, 2:]) / 2
    inside = ((centres > 0) & (centres < side)).all(axis=1)
    cut = np.clip(moved, 0, side) * (size / side)
    large = (cut[:, 2:] - cut[:, :2] > LEAST_SIDE).all(axis=1)
    return inside & large, cut
