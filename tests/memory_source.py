"""A set of images that lies in memory."""

import numpy as np

from plsc.data.sets.base import BadImage, ImageSource


class MemorySource(ImageSource):
    """Rows (image file, class), None for an image that cannot be read.

    Args:
        rows: the images.
        known: the set knows its classes before the images are read.
        num_classes: that it counts.

    Attributes:
        asked: which images have been read, in this process.

    """

    def __init__(self, rows, *, known=True, num_classes=None):
        self.rows, self.num_classes, self.asked = list(rows), num_classes, []
        self.labels = np.array([label for _, label in self.rows], np.int64) if known else None

    def __len__(self):
        return len(self.rows)

    def read(self, index):
        self.asked.append(index)
        image, label = self.rows[index]
        if image is None:
            raise BadImage(f"{self.where(index)}: is gone")
        return image, label

    def where(self, index):
        return f"memory: {index}"

    def name(self, index):
        return str(index)
