"""RecordIO files of images, as MXNet writes them (dmlc-core's recordio, mxnet's IRHeader).

A record is one or more parts: magic, a word of 3 bits for the part's place in the record and 29
for its length, the content, zeros up to a multiple of 4. The writer cuts a content that holds the
magic at a multiple of 4 there and leaves the magic out; the reader puts it back. The content is a
header (flag, label, id, id2), `flag` more labels, and the image file. All little endian.
"""

import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from plsc.errors import UserError
from plsc.mapped_file import map_file

MAGIC = struct.pack("<I", 0xCED7230A)
PART = struct.Struct("<4sI")
HEADER = struct.Struct("<IfQQ")
WHOLE, FIRST, MIDDLE, LAST = range(4)
LENGTH_BITS = 29
EXACT_LABELS = 2**24  # float32 holds every whole number below


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `labels` has the header's label if `flag` is 0, else `flag` labels."""

    flag: int
    labels: tuple[float, ...]
    id: int
    id2: int
    payload: bytes


class RecordFile:
    """A `.rec` file, mapped: reads are independent of each other and safe in forked processes."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._data: mmap.mmap = map_file(path, "record file")

    def __reduce__(self) -> tuple[type["RecordFile"], tuple[Path]]:
        return RecordFile, (self.path,)

    def fault(self, position: int, key: int | None, reason: str) -> UserError:
        """The error that says what is wrong with this file, and where."""
        record = "" if key is None else f"record {key}: "
        return UserError(f"{self.path}: {record}byte {position}: {reason}")

    def read(self, offset: int, *, key: int | None = None) -> Record:
        """The record whose first part begins at byte `offset`.

        Args:
            offset: as the `.idx` file gives it.
            key: the record's key there, for messages.

        Raises:
            UserError: there is no whole record; names the file, the key and the byte.

        """
        content = self._content(offset, key)
        if len(content) < HEADER.size:
            raise self.fault(offset, key, f"{len(content)} bytes are too few for a record's header")
        flag, label, id_, id2 = HEADER.unpack_from(content)
        begin = HEADER.size + 4 * flag
        if begin > len(content):
            raise self.fault(offset, key, f"{flag} labels do not fit into {len(content)} bytes")
        labels = struct.unpack_from(f"<{flag}f", content, HEADER.size) if flag else (label,)
        return Record(flag, labels, id_, id2, content[begin:])

    def read_image(self, offset: int, *, key: int | None = None) -> tuple[bytes, int]:
        """An image file and its class: the first label.

        Raises:
            UserError: as `read`; or there is no image, or the label is no class.

        """
        record = self.read(offset, key=key)
        if not record.payload:
            raise self.fault(offset, key, "the record holds no image")
        label = record.labels[0]
        if not 0 <= label < EXACT_LABELS or label != int(label):
            raise self.fault(
                offset, key, f"label {label} is no whole number from 0 to {EXACT_LABELS - 1}"
            )
        return record.payload, int(label)

    def _content(self, offset: int, key: int | None) -> bytes:
        parts: list[bytes] = []
        size, position = len(self._data), offset
        while True:
            if not 0 <= position <= size - PART.size:
                raise self.fault(
                    position, key, f"a record should begin here, the file has {size} bytes"
                )
            magic, word = PART.unpack_from(self._data, position)
            if magic != MAGIC:
                raise self.fault(
                    position, key, f"no record begins here ({magic.hex()}, not {MAGIC.hex()})"
                )
            place, length = word >> LENGTH_BITS, word & ((1 << LENGTH_BITS) - 1)
            if place not in ((MIDDLE, LAST) if parts else (WHOLE, FIRST)):
                raise self.fault(
                    position, key, f"part {len(parts) + 1} of a record has place {place}"
                )
            begin = position + PART.size
            position = begin + length + -length % 4
            if position > size:
                raise self.fault(
                    begin, key, f"{length} bytes should follow, the file has {size}: truncated"
                )
            parts.append(self._data[begin : begin + length])
            if place in (WHOLE, LAST):
                return MAGIC.join(parts)


class RecordWriter:
    """Writes `X.rec` with its `X.idx`; both appear whole when the `with` block ends, or not at all.

    Records are written in the order of the calls.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._partial = self.path.with_name(f"{self.path.name}.partial-{os.getpid()}")
        self._file: BinaryIO | None = None
        self._index: list[str] = []

    def __enter__(self) -> "RecordWriter":
        self._file = open(self._partial, "wb")  # noqa: SIM115
        return self

    def write(
        self,
        key: int,
        payload: bytes,
        *,
        labels: float | Sequence[float],
        id: int | None = None,
        id2: int = 0,
    ) -> int:
        """Append a record and return its byte offset.

        Args:
            key: its number in the index.
            payload: an image file, or nothing.
            labels: one number (flag 0), or several (flag = how many).
            id: number in the header; `key` if not given.
            id2: second number in the header.

        Raises:
            UserError: a label that float32 cannot hold, or more than 2^29 - 1 bytes.

        """
        assert self._file is not None, "outside of the with block"
        many = isinstance(labels, Sequence)
        numbers = list(labels) if isinstance(labels, Sequence) else [labels]
        for number in numbers:
            if abs(number) >= EXACT_LABELS and float(np.float32(number)) != number:
                raise UserError(f"{self.path}: record {key}: float32 cannot hold label {number}")
        header = HEADER.pack(
            len(numbers) if many else 0, 0.0 if many else numbers[0], key if id is None else id, id2
        )
        extra = struct.pack(f"<{len(numbers)}f", *numbers) if many else b""
        content = header + extra + payload
        if len(content) >> LENGTH_BITS:
            raise UserError(f"{self.path}: record {key}: {len(content)} bytes are too many")
        offset = self._file.tell()
        self._file.write(_in_parts(content))
        self._index.append(f"{key}\t{offset}\n")
        return offset

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        assert self._file is not None
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())
        if error is not None:
            self._partial.unlink()
            return
        index = self.path.with_suffix(".idx")
        partial_index = index.with_name(f"{index.name}.partial-{os.getpid()}")
        with open(partial_index, "w", encoding="ascii") as file:
            file.writelines(self._index)
            file.flush()
            os.fsync(file.fileno())
        index.unlink(missing_ok=True)  # an old index must not stand beside the new records
        os.replace(self._partial, self.path)
        os.replace(partial_index, index)


def _in_parts(content: bytes) -> bytes:
    pieces: list[bytes] = []
    begin = search = 0
    while (found := content.find(MAGIC, search)) >= 0:
        search = found + 1
        if found % 4 == 0 and found >= begin:
            pieces.append(content[begin:found])
            begin = search = found + len(MAGIC)
    pieces.append(content[begin:])
    parts: list[bytes] = []
    for number, piece in enumerate(pieces):
        place = FIRST if number == 0 else LAST if number == len(pieces) - 1 else MIDDLE
        word = (WHOLE if len(pieces) == 1 else place) << LENGTH_BITS | len(piece)
        parts += [PART.pack(MAGIC, word), piece, bytes(-len(piece) % 4)]
    return b"".join(parts)
