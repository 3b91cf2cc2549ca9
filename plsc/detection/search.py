"""Search photographs of any size for faces, by a named protocol: at which sizes, in what pixels."""

from collections.abc import Callable, Mapping
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from plsc.detection.detections import NMS_THRESHOLD, SCORE_THRESHOLD, Detections, candidates_of

Protocol = Literal["original", "vga", "mxnet", "multi-scale"]
Network = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]
LONG_SIDE = 640  # of vga
SHORT_SIDE, LONGEST_SIDE = 1600, 2150  # of mxnet
SHORT_SIDES, LONGEST_OF_SEVERAL = (500, 800, 1100, 1400, 1700), 2160  # of multi-scale, MindFace's
MEAN = np.array([104, 117, 123], np.float32)  # of blue, green and red


def scales_of(height: int, width: int, protocol: Protocol) -> list[float]:
    """Return by how much an image is enlarged for each search of it.

    original: not at all; vga: to a long side of 640; mxnet: to a short side of 1600, but a long one
    of at most 2150; multi-scale: to five short sides, long ones of at most 2160, each on a canvas
    of 2160 x 2160, as MindFace does.
    """
    short, long = sorted((height, width))
    if protocol == "original":
        return [1.0]
    if protocol == "vga":
        return [LONG_SIDE / long]
    sides, longest = (SHORT_SIDES, LONGEST_OF_SEVERAL) if protocol == "multi-scale" else (
        (SHORT_SIDE,), LONGEST_SIDE)  # fmt: skip
    return [
        side / short if round(side / short * long) <= longest else longest / long for side in sides
    ]


def find_faces(
    network: Network,
    pixels: NDArray[np.uint8],
    protocol: Protocol = "original",
    *,
    threshold: float = SCORE_THRESHOLD,
    overlap: float = NMS_THRESHOLD,
) -> Detections:
    """Return the faces in an image, all sizes together.

    Args:
        network: images [1, 3, h, w] -> bbox, score and landmark of their anchors.
        pixels: BGR [h, w, 3].
        protocol: see `scales_of`.
        threshold: faces have a score above this.
        overlap: of two boxes whose intersection is a larger share of their union, the surer stays.

    """
    found = []
    canvas = LONGEST_OF_SEVERAL if protocol == "multi-scale" else 0
    for scale in scales_of(pixels.shape[0], pixels.shape[1], protocol):
        resized = pixels.astype(np.float32)  # before it is resized, as published
        if scale != 1:
            resized = cv2.resize(resized, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        height, width = resized.shape[:2]
        size = max(height, canvas), max(width, canvas)
        image = np.zeros((1, 3, *size), np.float32)  # what lies beside the image has the mean
        image[0, :, :height, :width] = (resized - MEAN).transpose(2, 0, 1)
        outputs = {name: values[0] for name, values in network(image).items()}
        found.append(candidates_of(outputs, size, scale=scale, threshold=threshold))
    return Detections.of_all(found).suppressed(overlap)
