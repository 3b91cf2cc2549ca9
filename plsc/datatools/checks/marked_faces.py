"""Check that a set of photographs with marked faces is fit to train on; describe it."""

import functools
import itertools
from typing import Any

import numpy as np

from plsc.data.loader.image_map import AT_ONCE, fill_rows
from plsc.data.sets.base import BadImage
from plsc.data.sets.marked import MarkedImages
from plsc.data.transforms.standard import decode
from plsc.datatools.checks.duplicates import DIGEST_BYTES, digest, equal_rows
from plsc.datatools.checks.findings import UNREADABLE, FindingKind, Findings
from plsc.datatools.checks.image_sets import ImageSet

BEYOND = 1.0  # pixels that a box may reach beyond its image: lists are rounded
FAR = 0.5  # of a box's sides that landmarks may lie beside it
SIZES = (0, 8, 16, 32, 64, 128, 256, 512)  # pixels: where the bins of a histogram begin

OUTSIDE = FindingKind(
    "face_outside",
    "fault",
    "faces whose middle is outside of their image",
    "mend or remove them: is it x, y, width, height in pixels of this image?",
)
REACHING_OUT = FindingKind(
    "face_beyond_edge",
    "warning",
    "faces that reach beyond the edges of their image",
    "nothing, if they are cut off there: training cuts them off, too",
)
NO_SIZE = FindingKind(
    "face_without_size",
    "warning",
    "faces without a width or a height",
    "nothing: training leaves them out",
)
FAR_LANDMARKS = FindingKind(
    "landmarks_far_outside",
    "warning",
    "faces with a landmark far outside of their box",
    "look at them: are landmarks in pixels of this image, and of this face?",
)
SAME_FACE = FindingKind(
    "duplicate_face",
    "warning",
    "faces that are marked twice in one image",
    "keep one of each: of two that want one anchor only the last is learnt",
)
SAME_PICTURE = FindingKind(
    "duplicate_picture",
    "warning",
    "pictures that are in the set more than once",
    "keep one of each, with all of its faces: what one leaves out the other calls background",
)
NO_FACES = FindingKind(
    "no_face",
    "warning",
    "images without a face that has a size",
    "nothing: training leaves them out",
)
KINDS = (UNREADABLE, OUTSIDE, REACHING_OUT, NO_SIZE, FAR_LANDMARKS, SAME_FACE, SAME_PICTURE,
         NO_FACES)  # fmt: skip


def check_marked(source: MarkedImages, *, path: str, num_workers: int) -> Findings:
    """Return all that is wrong with images and the faces marked in them.

    Args:
        source: the images.
        path: what the user calls them.
        num_workers: processes; 0 looks at the images in this one.

    """
    findings, images = Findings(kinds=KINDS), ImageSet.of_source(path, source)
    sizes, sound = np.zeros((len(source), 2), np.int64), np.zeros(len(source), bool)
    digests = np.zeros((len(source), DIGEST_BYTES), np.uint8)
    arrays: list[np.ndarray] = [sizes, digests, sound]
    examine = functools.partial(_examine, source)
    faults = fill_rows(arrays, examine, num_workers=num_workers, at_once=AT_ONCE)
    for row, reason in itertools.chain.from_iterable(faults):
        findings.add(UNREADABLE, [(images, row)], reason)
    for index in range(len(source)):
        size = sizes[index] if sound[index] else np.array([np.inf, np.inf])
        _check_faces(source, index, size, images, findings)
    for group in equal_rows(digests, sound):
        findings.add(SAME_PICTURE, [(images, row) for row in group.tolist()])
    return findings


def _examine(source: MarkedImages, rows: range) -> tuple[list[np.ndarray], list[tuple[int, str]]]:
    sizes, sound = np.zeros((len(rows), 2), np.int64), np.zeros(len(rows), bool)
    digests, faults = np.zeros((len(rows), DIGEST_BYTES), np.uint8), []
    for place, row in enumerate(rows):
        try:
            pixels = decode(source.read(row)[0], to_rgb=False)
        except BadImage as error:
            faults.append((row, str(error)))
            continue
        height, width = pixels.shape[:2]
        sizes[place], digests[place], sound[place] = (width, height), digest(pixels), True
    return [sizes, digests, sound], faults


def _check_faces(
    source: MarkedImages, index: int, size: np.ndarray, images: ImageSet, findings: Findings
) -> None:
    """Note what is wrong with the faces of one image of `size`, width and height."""
    boxes, points = source.faces.boxes(index), source.faces.points[source.faces.faces(index)]
    sides = boxes[:, 2:] - boxes[:, :2]
    sized = (sides > 0).all(axis=1)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    outside = sized & ((middles < 0) | (middles > size)).any(axis=1)
    reaching = (boxes[:, :2] < -BEYOND).any(axis=1) | (boxes[:, 2:] > size + BEYOND).any(axis=1)
    low, high = boxes[:, None, :2] - FAR * sides[:, None], boxes[:, None, 2:] + FAR * sides[:, None]
    far = sized & ((points < low) | (points > high)).any(axis=(1, 2))  # nan is neither
    _, first = np.unique(boxes[sized], axis=0, return_index=True)
    again = np.ones(int(sized.sum()), bool)
    again[first] = False
    twice = np.zeros(len(boxes), bool)
    twice[sized] = again
    found = ((OUTSIDE, outside), (REACHING_OUT, sized & reaching & ~outside), (NO_SIZE, ~sized),
             (FAR_LANDMARKS, far), (SAME_FACE, twice))  # fmt: skip
    for kind, rows in found:
        for face in np.flatnonzero(rows).tolist():
            findings.add(kind, [(images, index)], _shown(boxes[face]))
    if not sized.any():
        findings.add(NO_FACES, [(images, index)])


def _shown(box: np.ndarray) -> str:
    left, top, right, bottom = box.tolist()
    return f"x {left:g}, y {top:g}, width {right - left:g}, height {bottom - top:g}"


def summary(source: MarkedImages) -> dict[str, Any]:
    """Return counts and a histogram of the faces' sizes, the longer side in pixels, as JSON has."""
    faces = source.faces
    sized = (faces.sizes[:, 2:] > 0).all(axis=1)
    longer = faces.sizes[sized, 2:].max(axis=1, initial=0)
    counts = np.diff(faces.starts)
    numbers = np.bincount(np.searchsorted(SIZES, longer, side="right") - 1, minlength=len(SIZES))
    ends = [*SIZES[1:], None]
    return {
        "num_images": len(faces),
        "num_images_to_train_on": len(faces.to_train_on()),
        "num_faces": int(sized.sum()),
        "num_faces_without_size": int((~sized).sum()),
        "num_faces_with_landmarks": int((~np.isnan(faces.points[sized]).any(axis=(1, 2))).sum()),
        "faces_per_image": {
            "median": float(np.median(counts)),
            "mean": round(float(counts.mean()), 3),
            "max": int(counts.max()),
        },
        "sizes": [
            {"from": first, "below": end, "faces": int(number)}
            for first, end, number in zip(SIZES, ends, numbers, strict=True)
        ],
    }
