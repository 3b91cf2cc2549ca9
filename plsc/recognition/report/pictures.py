"""The pairs that a model finds hardest, as pictures that a page can hold."""

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from plsc.data.sets.base import ImageSource
from plsc.data.transforms.standard import decode
from plsc.recognition.metrics.roc import Threshold
from plsc.recognition.metrics.verification import VerificationReport

MOST_SIDE = 112  # pixels
JPEG_QUALITY = 85


@dataclass(frozen=True)
class PairPicture:
    """Two images and how alike they are to the model.

    Attributes:
        number: of the pair, from 1 on.
        score: cosine.
        images: data URIs, as JPEG.
        places: where the images lie.

    """

    number: int
    score: float
    images: tuple[str, str]
    places: tuple[str, str]

    @property
    def angle(self) -> float:
        """Return degrees between the two embeddings."""
        return Threshold(self.score).angle

    @property
    def sides(self) -> list[tuple[str, str, str]]:
        """Return of both images which of the two it is in words, its data URI and its place."""
        return list(zip(("left", "right"), self.images, self.places, strict=True))


def hardest_pairs(
    report: VerificationReport, images: ImageSource, *, same: bool, most: int
) -> list[PairPicture]:
    """Return pairs of one person that score lowest, or of two that score highest; hardest first.

    Args:
        report: of the set.
        images: of the set.
        same: pairs of one person.
        most: how many pairs.

    Raises:
        BadImage: an image cannot be read.

    """
    rows = np.flatnonzero(report.issame == same)
    scores = report.scores[rows]
    order = np.argsort(scores if same else -scores, kind="stable")[:most]
    return [_picture(int(row), float(report.scores[row]), images) for row in rows[order]]


def _picture(pair: int, score: float, images: ImageSource) -> PairPicture:
    left, right = 2 * pair, 2 * pair + 1
    return PairPicture(
        number=pair + 1,
        score=score,
        images=(_data_uri(images.read(left)[0]), _data_uri(images.read(right)[0])),
        places=(images.where(left), images.where(right)),
    )


def _data_uri(encoded: bytes) -> str:
    """Return the image written anew: small, as every browser knows it, without its EXIF."""
    pixels = decode(encoded, to_rgb=False)
    height, width = pixels.shape[:2]
    shrink = MOST_SIDE / max(height, width)
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"
