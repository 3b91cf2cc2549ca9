"""Each image of a set read, decoded and digested, in several processes."""

from contextlib import closing
from dataclasses import dataclass

import numpy as np

from plsc.data.loader.ranges import over_ranges
from plsc.data.sets.base import BadImage
from plsc.data.sets.labels import AT_ONCE, UNKNOWN
from plsc.data.transforms.standard import decode
from plsc.datatools.checks.duplicates import DIGEST_BYTES, digest
from plsc.datatools.checks.findings import BLANK, UNREADABLE, WRONG_SIZE, Findings, Kind
from plsc.datatools.checks.image_sets import ImageSets


@dataclass(frozen=True, slots=True)
class Looked:
    """What all images of several sets are, one after the other.

    Attributes:
        labels: int64 [n]; -1 where there is none, or it cannot be read.
        digests: uint8 [n, 16].
        comparable: bool [n], whether the image has a picture, and so a digest.

    """

    labels: np.ndarray
    digests: np.ndarray
    comparable: np.ndarray


def look(sets: ImageSets, findings: Findings, *, size: int, num_workers: int) -> Looked:
    """Look at all images, with progress; what is wrong with one by itself goes to `findings`.

    Args:
        sets: the images.
        findings: gets images that cannot be read, have another size or are blank, in their order.
        size: side in pixels that images must have.
        num_workers: processes.

    """
    labels, comparable = np.full(len(sets), UNKNOWN, np.int64), np.zeros(len(sets), bool)
    digests = np.zeros((len(sets), DIGEST_BYTES), np.uint8)
    results = over_ranges(
        _Look(sets, size),
        len(sets),
        at_once=AT_ONCE,
        num_workers=num_workers,
        unit="images",
        slot_bytes=AT_ONCE * (labels.itemsize + DIGEST_BYTES + comparable.itemsize),
    )
    start = 0
    with closing(results):
        for parts, faults in results:
            stop = start + len(parts[0])
            labels[start:stop], digests[start:stop], comparable[start:stop] = parts
            for row, kind, detail in faults:
                findings.add(kind, [sets.image(row)], detail)
            start = stop
    return Looked(labels, digests, comparable)


class _Look:
    """What a process does with a range of images."""

    def __init__(self, sets: ImageSets, size: int):
        self._sets, self._size = sets, size

    def __call__(self, rows: range) -> tuple[list[np.ndarray], list[tuple[int, Kind, str]]]:
        labels, comparable = np.full(len(rows), UNKNOWN, np.int64), np.zeros(len(rows), bool)
        digests = np.zeros((len(rows), DIGEST_BYTES), np.uint8)
        faults = []
        for place, row in enumerate(rows):
            images, index = self._sets.image(row)
            try:
                encoded, labels[place] = images.read(index)
                pixels = decode(encoded, to_rgb=False)
            except BadImage as error:
                faults.append((row, UNREADABLE, str(error)))
                continue
            height, width = pixels.shape[:2]
            if (height, width) != (self._size, self._size):
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
