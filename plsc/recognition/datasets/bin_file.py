"""LFW-style `.bin` verification sets: a pickle of encoded images and of whether pairs match."""

from pathlib import Path
from typing import Any

from plsc.config.registry import DATASETS
from plsc.data.sets.bin_file import read_bin
from plsc.recognition.datasets.images import FacePairs


@DATASETS.register
class FaceVerificationBin(FacePairs):
    """The pairs of a `.bin` file, read without extracting it; images 2i and 2i + 1 are pair i."""

    def __init__(self, bin_path: str, transform_ops: list[Any] | None = None):
        """Read the whole file; see `read_bin` for what may be wrong with it."""
        super().__init__(transform_ops)
        self._path, self.name = bin_path, Path(bin_path).stem
        self._images, self.issame = read_bin(bin_path)

    def __len__(self) -> int:
        return len(self._images)

    def where(self, index: int) -> str:
        """The `.bin` file and the image's number in it."""
        return f"{self._path}: image {index}"

    def read(self, index: int) -> bytes:
        """The image file."""
        return self._images[index]
