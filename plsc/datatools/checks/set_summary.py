"""Summarise a training set: counts, images per identity, formats and sizes."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from plsc.data.loader.image_map import map_images
from plsc.data.sets.base import BadImage, ImageSource
from plsc.data.sets.image_file import ending_of
from plsc.data.sets.labels import UNKNOWN
from plsc.data.transforms.standard import decode

FEW = (5, 10, 20)  # images; how many identities have fewer
MOST_EXACT_ROWS = 20
BAR = 50  # characters

Histogram = list[tuple[int, int, int]]


class Identities:
    """Numbers of images of the identities.

    Attributes:
        class_num: the least that a config may say; the source's own count if that is larger.
        counts: int64 [k], images of each identity that has any.
        num_unknown: images whose class cannot be read.

    """

    def __init__(self, labels: np.ndarray, own_class_num: int | None):
        known = labels[labels != UNKNOWN]
        self.num_unknown = len(labels) - len(known)
        classes, self.counts = np.unique(known, return_counts=True)
        self.class_num = max(int(classes.max(initial=-1)) + 1, own_class_num or 0)

    @property
    def median(self) -> float:
        """Return how many images the identity in the middle has."""
        return float(np.median(self.counts))

    def histogram(self) -> "Histogram":
        """Return rows (from, to, number of identities), from the fewest images up, inclusive.

        One row per number of images if they are few, else ranges that grow in steps of 1, 2, 5.
        """
        least, most = int(self.counts.min()), int(self.counts.max())
        starts = np.arange(least, most + 1)
        if most - least >= MOST_EXACT_ROWS:
            series = [step * 10**power for power in range(len(str(most))) for step in (1, 2, 5)]
            below = [1, 2, 3, *series[2:]]
            starts = np.array([start for start in below if start <= most])
            starts = starts[np.searchsorted(starts, least, side="right") - 1 :]
        numbers = np.bincount(
            np.searchsorted(starts, self.counts, side="right") - 1, minlength=len(starts)
        )
        ends = [*(starts[1:] - 1).tolist(), most]
        return list(zip(starts.tolist(), ends, numbers.tolist(), strict=True))

    def as_json(self) -> dict[str, Any]:
        """Return the same as an object."""
        counts = self.counts
        report: dict[str, Any] = {
            "num_identities": len(counts),
            "class_num": self.class_num,
            "num_classes_without_images": self.class_num - len(counts),
            "num_images_of_unknown_class": self.num_unknown,
        }
        if len(counts):
            report["images_per_identity"] = {
                "min": int(counts.min()),
                "median": self.median,
                "mean": round(float(counts.mean()), 3),
                "max": int(counts.max()),
                "with_one": int((counts == 1).sum()),
                **{f"fewer_than_{few}": int((counts < few).sum()) for few in FEW},
                "histogram": [
                    {"from": first, "to": last, "identities": number}
                    for first, last, number in self.histogram()
                ],
            }
        return report


def range_name(first: int, last: int) -> str:
    """Return `7`, or `5-9`."""
    return str(first) if first == last else f"{first}-{last}"


def histogram_text(rows: Histogram) -> str:
    """Return lines with bars of up to 50 characters, at least one for a row that is not empty."""
    names = [range_name(first, last) for first, last, _ in rows]
    width = max(map(len, names))
    most = max(number for _, _, number in rows)
    lines = []
    for name, (_, _, number) in zip(names, rows, strict=True):
        bar = "#" * -(-BAR * number // most)
        lines.append(f"  {name:>{width}} | {bar}{' ' if bar else ''}{number:,}")
    return "\n".join(lines)


@dataclass(frozen=True)
class SampledImages:
    """Formats and sizes of some of the images.

    Attributes:
        num_images: how many were looked at.
        num_bytes: of their files.
        formats: how many there are of each.
        sizes: the same for `112x112` (width x height).
        bad: what is wrong with those that cannot be read or decoded.

    """

    num_images: int
    num_bytes: int
    formats: Counter[str]
    sizes: Counter[str]
    bad: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return the same as an object."""
        return {
            "num_images": self.num_images,
            "mean_bytes": round(self.num_bytes / max(self.num_images - len(self.bad), 1)),
            "formats": dict(self.formats.most_common()),
            "sizes": dict(self.sizes.most_common()),
            "unusable": self.bad,
        }


def sample_images(source: ImageSource, num_images: int, *, num_workers: int) -> SampledImages:
    """Read and decode `num_images` images (all if there are no more), evenly spread, in order."""
    rows = np.unique(np.linspace(0, len(source) - 1, min(num_images, len(source))).astype(np.int64))

    def examine(places: range) -> tuple[list[np.ndarray], list[tuple[int, str, str] | str]]:
        return [], [_examined(source, index) for index in rows[places.start : places.stop].tolist()]

    with map_images(examine, len(rows), num_workers=num_workers) as results:
        found = [image for _, part in results for image in part]
    sound = [image for image in found if not isinstance(image, str)]
    return SampledImages(
        num_images=len(found),
        num_bytes=sum(num_bytes for num_bytes, _, _ in sound),
        formats=Counter(form for _, form, _ in sound),
        sizes=Counter(size for _, _, size in sound),
        bad=[image for image in found if isinstance(image, str)],
    )


def _examined(source: ImageSource, index: int) -> tuple[int, str, str] | str:
    """Return bytes, format and size of an image, or what is wrong with it."""
    try:
        image, _ = source.read(index)
    except BadImage as error:
        return str(error)
    try:
        height, width = decode(image, to_rgb=False).shape[:2]
    except BadImage as error:
        return f"{source.where(index)}: {error}"
    return len(image), (ending_of(image) or "other").removeprefix("."), f"{width}x{height}"
