"""The classes of a set, be they in a list or in the images' own records."""

import numpy as np

from plsc.data.loader.image_map import fill_rows
from plsc.data.sets.base import BadImage, ImageSource

AT_ONCE = 512  # images
UNKNOWN = -1


def labels_of(source: ImageSource, *, num_workers: int) -> np.ndarray:
    """Return int [n], the class of each image; -1 of those that cannot be read.

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

    labels = np.empty(len(source), np.int64)
    fill_rows([labels], read, num_workers=num_workers, at_once=AT_ONCE, unit="labels")
    return labels
