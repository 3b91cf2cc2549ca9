"""Sets of encoded images by number: with classes, without, or in pairs."""

from abc import ABC, abstractmethod

import numpy as np

from plsc.errors import UserError

NO_CLASS = -1


class BadImage(UserError):
    """An image that cannot be used; the rest of its set can."""


class ImageSource(ABC):
    """Encoded images, numbered from 0, wherever they lie.

    Opening one is cheap, whatever its size: no image is read and no file is looked at one by one.
    Reading depends on the index alone and is safe in forked processes.

    Attributes:
        labels: int [n], classes from 0 on; None where only the images' own records tell, or nobody.
        num_classes: the largest class plus one; None if unknown before all records are read.

    """

    labels: np.ndarray | None
    num_classes: int | None

    @abstractmethod
    def __len__(self) -> int:
        """Return how many images there are."""

    @abstractmethod
    def read(self, index: int) -> tuple[bytes, int]:
        """Return the image file and its class, -1 if it has none.

        Raises:
            BadImage: it cannot be read; the message says where it should be.

        """

    @abstractmethod
    def where(self, index: int) -> str:
        """Return the image's place for messages: file and line, or file, record key and byte."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return a short name: the path below the root, or the record's key."""

    @property
    def left_out(self) -> str:
        """Return what beside the images does not count, in one line; "" if nothing does."""
        return ""
