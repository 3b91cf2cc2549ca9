"""The classes of a set, be they in a list or in the images' own records."""

from contextlib import closing

import numpy as np

from plsc.data.loader.ranges import over_ranges
from plsc.data.sets.base import BadImage, ImageSource

AT_ONCE = 512  # images
UNKNOWN = -1


def labels_of(source: ImageSource, *, num_workers: int) -> np.ndarray:
    """int [n], the class of each image; -1 of those that cannot be read.

    Where the source does not know them, all images are read, with progress.
    """
    if source.labels is not None:
        return source.labels

    def read(rows: range) -> tuple[list[np.ndarray], None]:
        labels = np.full(len(rows), UNKNOWN, np.int64)
        for place, index in enumerate(rows):
            try:
                labels[place] = source.read(index)[1]
            except BadImage:
                continue  # stays unknown
        return [labels], None

    labels, done = np.empty(len(source), np.int64), 0
    slot_bytes = AT_ONCE * labels.itemsize
    results = over_ranges(
        read,
        len(source),
        at_once=AT_ONCE,
        num_workers=num_workers,
        unit="labels",
        slot_bytes=slot_bytes,
    )
    with closing(results):
        for (part,), _ in results:
            labels[done : done + len(part)] = part
            done += len(part)
    return labels
