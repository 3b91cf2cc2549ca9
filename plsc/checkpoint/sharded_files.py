"""The files of a checkpoint in which rows lie that are split over the ranks.

    head-00000-of-00002.safetensors                      a rank with at most PART_ROWS rows
    head-00000-of-00002.part-00001-of-00004.safetensors  the second part of a larger one

`head` is the stem that the rows' owner gives. Each file holds `weight` and the optimizer state of
its rows. A part in which nothing has changed since the checkpoint before is not written again but
linked: both folders name one file, and removing one leaves the other.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from plsc.distributed.sharding import RowShard
from plsc.errors import DamagedFile, UserError
from plsc.files.tensor_file import RowSource, TensorFile, file_bytes, header_of, spans
from plsc.files.tensor_types import FLOATS, TYPES, as_type

WEIGHT = "weight"  # of the tensors in such a file; the others are optimizer state
PART_ROWS = 262_144
Piece = tuple[int, np.ndarray]  # number of the first row, rows


@dataclass(frozen=True)
class Part:
    """A file's place among those of all ranks, and its rows (numbers within the rank)."""

    stem: str
    rank: int
    ranks: int
    number: int
    parts: int
    start: int
    stop: int

    @property
    def file(self) -> str:
        """Its name."""
        part = f".part-{self.number:05d}-of-{self.parts:05d}" if self.parts > 1 else ""
        return f"{self.stem}-{self.rank:05d}-of-{self.ranks:05d}{part}.safetensors"


def parts_of(stem: str, num_local: int, rank: int, ranks: int, *, part_rows: int) -> list[Part]:
    """Return the files of a rank that owns `num_local` rows; one even if there are none."""
    count = max(1, -(-num_local // part_rows))
    return [
        Part(
            stem,
            rank,
            ranks,
            number,
            count,
            number * part_rows,
            min((number + 1) * part_rows, num_local),
        )
        for number in range(count)
    ]


@dataclass(frozen=True)
class Window:
    """Rows start..stop of others, as RowSource."""

    rows: RowSource
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, ...]:
        """See RowSource."""
        return (self.stop - self.start, *self.rows.shape[1:])

    @property
    def dtype(self) -> str:
        """See RowSource."""
        return str(self.rows.dtype)

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """See RowSource."""
        start, stop, _ = rows.indices(self.stop - self.start)
        return self.rows[self.start + start : self.start + stop]


@dataclass(frozen=True)
class Unchanged:
    """Files of an earlier checkpoint that still hold what a new one would.

    Attributes:
        folder: that checkpoint; this process has written it or read it whole.
        changed: for each zone of neighbouring rows of this rank, whether any of them has
            changed since.
        zone: rows in a zone.

    """

    folder: Path
    changed: np.ndarray
    zone: int

    def link(self, folder: Path, part: Part, tensors: Mapping[str, RowSource]) -> bool:
        """Give `folder` the earlier file of this part, if that would be written again as it is."""
        if self.changed[part.start // self.zone : -(-part.stop // self.zone)].any():
            return False
        earlier, header = self.folder / part.file, header_of(tensors)
        try:
            # The same rows in the same types and no byte less, or it is another file.
            with open(earlier, "rb") as file:
                same = file.read(len(header)) == header
            if not same or earlier.stat().st_size != file_bytes(tensors):
                return False
            os.link(earlier, folder / part.file)
        except OSError:  # the file is gone, or the file system knows no such links: write it
            return False
        return True


def tensors_of(tensors: Mapping[str, RowSource], part: Part) -> dict[str, RowSource]:
    """Return the part of all tensors."""
    return {name: Window(rows, part.start, part.stop) for name, rows in tensors.items()}


def _read_ahead(
    reads: Iterable[Callable[[], np.ndarray]],
) -> Generator[np.ndarray, None, None]:
    """Yield what the calls return; while one is used, the next is read and checked."""
    with ThreadPoolExecutor(1) as beside:
        coming = None
        for read in reads:
            before, coming = coming, beside.submit(read)
            if before is not None:
                yield before.result()
        if coming is not None:
            yield coming.result()


@dataclass(frozen=True)
class SavedRows:
    """Rows in a checkpoint's folder.

    Attributes:
        folder: the checkpoint.
        stem: what their files begin with.
        num_rows: of all ranks together.
        ranks: how many wrote them.
        part_rows: rows in a file at most.
        sums: of the checkpoint's files, by name, as far as they are known.

    """

    folder: Path
    stem: str
    num_rows: int
    ranks: int
    part_rows: int
    sums: Mapping[str, str] = field(default_factory=dict)

    def kind(self, name: str) -> tuple[str, int] | None:
        """Return type and dimension of tensor `name`; None where there is no such tensor.

        Raises:
            UserError: the first file cannot be read.

        """
        first, part = next(self._parts())
        with self._open(part) as file:
            if name not in file.tensors:
                return None
            tensor = file.tensors[name]
        if len(tensor.shape) != 2 or tensor.dtype not in FLOATS:
            raise UserError(
                f"{self.folder / part.file}: {name!r} is {tensor.dtype} {list(tensor.shape)}, not "
                "a number for each class and dimension"
            )
        return tensor.dtype, tensor.shape[1]

    def pieces(self, name: str, start: int, stop: int, *, dtype: str) -> Iterator[Piece]:
        """Yield rows start..stop (of all) of tensor `name`, in order, stored as `dtype`.

        Raises:
            DamagedFile: a file is missing, damaged or not of these rows; the message names it.

        """
        kind = self.kind(name)
        assert kind is not None, name
        row_bytes = kind[1] * max(TYPES[kind[0]][1].itemsize, TYPES[dtype][1].itemsize)
        for first, part in self._parts():
            low, high = max(start, first), min(stop, first + part.stop - part.start)
            if low >= high:
                continue
            with self._open(part) as file:
                self._check(file, name, kind, part.stop - part.start)
                places = list(spans(low, high, (high - low) * row_bytes))
                reads = (partial(file.rows, name, b - first, e - first) for b, e in places)
                with closing(_read_ahead(reads)) as found:
                    for (begin, _), values in zip(places, found, strict=True):
                        yield begin, as_type(values, kind[0], dtype)

    def _open(self, part: Part) -> TensorFile:
        return TensorFile(self.folder / part.file, self.sums.get(part.file))

    def _parts(self) -> Iterator[tuple[int, Part]]:
        """Yield every file, with the number of its first row."""
        for rank in range(self.ranks):
            shard = RowShard(self.num_rows, rank, self.ranks)
            for part in parts_of(
                self.stem, shard.num_local, rank, self.ranks, part_rows=self.part_rows
            ):
                yield shard.start + part.start, part

    def _check(self, file: TensorFile, name: str, kind: tuple[str, int], rows: int) -> None:
        tensor = file.tensors.get(name)
        if tensor is None or (tensor.dtype, tensor.shape) != (kind[0], (rows, kind[1])):
            found = "is missing" if tensor is None else f"is {tensor.dtype} {list(tensor.shape)}"
            raise DamagedFile(
                f"{file.path}: {name!r} {found}, not {kind[0]} {[rows, kind[1]]} as the rest of "
                "this checkpoint has it"
            )
