"""A batch: arrays by field name, each with a row per sample."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plsc.data.loader.worker import ALIGNMENT

Fields = Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]
"""Name -> shape and dtype of one sample; what a data set says of its samples."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples with named fields: `batch["images"]` is an array [b, ...].

    Attributes:
        fields: array by name; all have the same first axis.

    """

    fields: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        rows = {name: len(array) for name, array in self.fields.items()}
        assert len(set(rows.values())) == 1, f"fields of one length are needed, got {rows}"

    def __getitem__(self, name: str) -> np.ndarray:
        return self.fields[name]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(next(iter(self.fields.values())))

    def split(self, parts: int) -> "list[Batch]":
        """Return `parts` batches of equal length, in order, which share this one's memory."""
        assert len(self) % parts == 0, f"{len(self)} samples cannot be split into {parts} parts"
        size = len(self) // parts
        rows = [slice(part * size, (part + 1) * size) for part in range(parts)]
        return [Batch({name: array[own] for name, array in self.fields.items()}) for own in rows]


def batch_bytes(fields: Fields, num_samples: int) -> int:
    """Return the shared memory that a batch takes, each field in blocks of `ALIGNMENT` bytes."""
    sizes = (
        num_samples * math.prod(shape) * np.dtype(dtype).itemsize
        for shape, dtype in fields.values()
    )
    return sum(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)
