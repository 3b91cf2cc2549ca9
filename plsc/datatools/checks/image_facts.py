"""Each image of a set read, decoded and digested, in several processes."""

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from plsc.data.loader.image_map import fill_rows
from plsc.data.sets.base import BadImage
from plsc.data.sets.labels import AT_ONCE, UNKNOWN
from plsc.data.transforms.standard import decode
from plsc.datatools.checks.duplicates import DIGEST_BYTES, digest
from plsc.datatools.checks.findings import BLANK, UNREADABLE, WRONG_SIZE, FindingKind, Findings
from plsc.datatools.checks.image_sets import ImageSets


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Class and digest of all images of several sets, one after the other.

    Attributes:
        labels: int64 [n]; -1 where there is none, or it cannot be read.
        digests: uint8 [n, 16].
        comparable: bool [n], whether the image has a picture, and so a digest.

    """

    labels: np.ndarray
    digests: np.ndarray
    comparable: np.ndarray


def examine_images(
    sets: ImageSets, findings: Findings, *, size: int, num_workers: int
) -> ImageFacts:
    """Look at all images, with progress; what is wrong with one by itself goes to `findings`.

    Args:
        sets: the images.
        findings: gets images that cannot be read, have another size or are blank, in their order.
        size: side in pixels that images must have.
        num_workers: processes.

    """
    labels, comparable = np.full(len(sets), UNKNOWN, np.int64), np.zeros(len(sets), bool)
    digests = np.zeros((len(sets), DIGEST_BYTES), np.uint8)
    arrays: list[np.ndarray] = [labels, digests, comparable]
    examine = functools.partial(_examine, sets, size)
    faults = fill_rows(arrays, examine, num_workers=num_workers, at_once=AT_ONCE)
    for row, kind, detail in itertools.chain.from_iterable(faults):
        findings.add(kind, [sets.image(row)], detail)
    return ImageFacts(labels, digests, comparable)


def _examine(
    sets: ImageSets, size: int, rows: range
) -> tuple[list[np.ndarray], list[tuple[int, FindingKind, str]]]:
    labels, comparable = np.full(len(rows), UNKNOWN, np.int64), np.zeros(len(rows), bool)
    digests = np.zeros((len(rows), DIGEST_BYTES), np.uint8)
    faults = []
    for place, row in enumerate(rows):
        images, index = sets.image(row)
        try:
            encoded, labels[place] = images.read(index)
            pixels = decode(encoded, to_rgb=False)
        except BadImage as error:
            faults.append((row, UNREADABLE, str(error)))
            continue
        height, width = pixels.shape[:2]
        if (height, width) != (size, size):
            faults.append((row, WRONG_SIZE, f"{width}x{height} (width x height)"))
        if _of_one_colour(pixels):
            faults.append((row, BLANK, f"all pixels are {pixels[0, 0, ::-1].tolist()}"))
            continue
        comparable[place], digests[place] = True, digest(pixels)
    return [labels, digests, comparable], faults


def _of_one_colour(pixels: np.ndarray) -> bool:
    first = pixels[0, 0]
    # Nearly every image shows in its first row that it is none.
    return bool((pixels[0] == first).all() and (pixels == first).all())
