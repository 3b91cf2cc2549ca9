"""The images of a verification set, each once: to measure images, not pairs."""

from plsc.data.sets.base import ImageSource
from plsc.data.sets.loose import NO_CLASS
from plsc.data.sets.paired_images import PairedImages


class DistinctImages(ImageSource):
    """The images of pairs in the order in which they come first.

    Two are the same if they are called the same; those of a `.bin` file are told apart by number.

    Attributes:
        labels: None.

    """

    def __init__(self, pairs: PairedImages):
        first: dict[str, int] = {}
        for index in range(len(pairs)):
            first.setdefault(pairs.names(index)[0], index)
        self._pairs, self._names, self._rows = pairs, list(first), list(first.values())
        self.labels = self.num_classes = None

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._rows)

    def read(self, index: int) -> tuple[bytes, int]:
        """The image file, and -1 for no class.

        Raises:
            BadImage: the file cannot be read.

        """
        return self._pairs.read(self._rows[index]), NO_CLASS

    def where(self, index: int) -> str:
        """The image's place, and the first pair that it is in."""
        return self._pairs.where(self._rows[index])

    def name(self, index: int) -> str:
        """The first of `PairedImages.names`."""
        return self._names[index]
