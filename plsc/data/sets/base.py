"""What every source of training images gives: encoded images and classes, by number."""

from abc import ABC, abstractmethod

import numpy as np

from plsc.errors import UserError


class BadImage(UserError):
    """An image that cannot be used; the rest of its set can."""


class ImageSource(ABC):
    """Encoded images with classes, numbered from 0, wherever they lie.

    Opening one is cheap, whatever its size: no image is read and no file is looked at one by one.
    Reading depends on the index alone and is safe in forked processes.

    Attributes:
        labels: int [n], classes from 0 on; None where only the images' own records tell.
        num_classes: the largest class plus one; None if unknown before all records are read.

    """

    labels: np.ndarray | None
    num_classes: int | None

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are."""

    @abstractmethod
    def read(self, index: int) -> tuple[bytes, int]:
        """The image file and its class.

        Raises:
            BadImage: it cannot be read; the message says where it should be.

        """

    @abstractmethod
    def where(self, index: int) -> str:
        """The image's place for messages: file and line, or file, record key and byte."""

    @abstractmethod
    def name(self, index: int) -> str:
        """A short name: the path below the root, or the record's key."""
