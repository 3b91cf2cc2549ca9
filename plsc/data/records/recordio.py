"""RecordIO files of images, as MXNet writes them (dmlc-core's recordio, mxnet's IRHeader).

A record is one or more parts: magic, a word of 3 bits for the part's place in the record and 29
for its length, the content, zeros up to a multiple of 4. The writer cuts a content that holds the
magic at a multiple of 4 there and leaves the magic out; the reader puts it back. The content is a
header (flag, label, id, id2), `flag` more labels, and the image file. All little endian.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from plsc.data.sets.base import BadImage
from plsc.data.sets.image_file import MOST_IMAGE_BYTES
from plsc.errors import UserError
from plsc.files.random_access import RandomAccessFile

MAGIC = struct.pack("<I", 0xCED7230A)
PART = struct.Struct("<4sI")
HEADER = struct.Struct("<IfQQ")
WHOLE, FIRST, MIDDLE, LAST = range(4)
LENGTH_BITS = 29
EXACT_LABELS = 2**24  # float32 holds every whole number below
AHEAD = 16384  # bytes: holds an aligned face as JPEG, so that one system call reads it
AHEAD_IN_PARTS = 256  # a record may be cut into thousands of parts of a few bytes
MOST_PARTS = 1 << 16  # of a record; an image of 4 MB has one for each magic that chance puts there


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `labels` has the header's label if `flag` is 0, else `flag` labels."""

    flag: int
    labels: tuple[float, ...]
    id: int
    id2: int
    payload: bytes


class RecordFile:
    """A `.rec` file; reads are independent of each other and safe in forked processes.

    Attributes:
        path: as given.
        size: bytes.

    """

    def __init__(self, path: str | Path):
        """Open it.

        Raises:
            UserError: it is missing, unreadable, no regular file, or empty.

        """
        self._file = RandomAccessFile(path, "record file")
        self.path, self.size = self._file.path, self._file.size

    def __reduce__(self) -> tuple[type["RecordFile"], tuple[Path]]:
        return RecordFile, (self.path,)

    def fault(self, position: int, key: int | None, reason: str) -> BadImage:
        """Return the error that says what is wrong with this file, and where."""
        record = "" if key is None else f"record {key}: "
        return BadImage(f"{self.path}: {record}byte {position}: {reason}")

    def read(self, offset: int, *, key: int | None = None) -> Record:
        """Return the record whose first part begins at byte `offset`.

        Args:
            offset: as the `.idx` file gives it.
            key: the record's key there, for messages.

        Raises:
            BadImage: there is no whole record; names the file, the key and the byte.

        """
        parts = []
        for begin, length, content in self.parts(offset, key=key, ahead=AHEAD):
            missing = length - len(content)
            if length > MOST_IMAGE_BYTES:
                raise self.fault(begin, key, f"{length} bytes are more than an image has")
            if missing:
                content += self._bytes(begin + len(content), missing, key)
            parts.append(content)
        content = MAGIC.join(parts)
        if len(content) < HEADER.size:
            raise self.fault(offset, key, f"{len(content)} bytes are too few for a record's header")
        flag, label, id_, id2 = HEADER.unpack_from(content)
        begin = HEADER.size + 4 * flag
        if begin > len(content):
            raise self.fault(offset, key, f"{flag} labels do not fit into {len(content)} bytes")
        labels = struct.unpack_from(f"<{flag}f", content, HEADER.size) if flag else (label,)
        return Record(flag, labels, id_, id2, content[begin:])

    def read_image(self, offset: int, *, key: int | None = None) -> tuple[bytes, int]:
        """Return an image file and its class: the first label.

        Raises:
            BadImage: as `read`; or there is no image, or the label is no class.

        """
        record = self.read(offset, key=key)
        if not record.payload:
            raise self.fault(offset, key, "the record holds no image")
        label = record.labels[0]
        if not 0 <= label < EXACT_LABELS or label != int(label):
            raise self.fault(
                offset,
                key,
                f"label {label} is no whole number from 0 to {EXACT_LABELS - 1} (record files "
                "cannot hold more classes exactly: a list or a folder can)",
            )
        return record.payload, int(label)

    def parts(
        self, offset: int, *, key: int | None = None, ahead: int = 0
    ) -> Iterator[tuple[int, int, bytes]]:
        """Yield where the content of each part of a record begins, its length and its first bytes.

        At most `ahead` bytes of content are given; all lie inside of the file.

        Raises:
            BadImage: as `read`.

        """
        position, number = offset, 1
        while True:
            place, length, content = self.head(position, key=key, number=number, ahead=ahead)
            begin = position + PART.size
            position = begin + length + -length % 4
            if position > self.size:
                raise self.fault(
                    begin, key, f"{length} bytes should follow, the file has {self.size}: truncated"
                )
            yield begin, length, content
            if place in (WHOLE, LAST):
                return
            number += 1
            if number > MOST_PARTS or position - offset > MOST_IMAGE_BYTES:
                raise self.fault(
                    offset,
                    key,
                    f"the record has more than {MOST_PARTS} parts or {MOST_IMAGE_BYTES} bytes",
                )
            ahead = min(ahead, AHEAD_IN_PARTS)

    def head(
        self, position: int, *, key: int | None = None, number: int = 1, ahead: int = 0
    ) -> tuple[int, int, bytes]:
        """Return place and length of part `number` of a record, and `ahead` bytes of it at most.

        Raises:
            BadImage: no such part begins at `position`.

        """
        if not 0 <= position <= self.size - PART.size:
            raise self.fault(
                position, key, f"a record should begin here, the file has {self.size} bytes"
            )
        block = self._bytes(position, min(PART.size + ahead, self.size - position), key)
        magic, word = PART.unpack_from(block)
        if magic != MAGIC:
            raise self.fault(
                position, key, f"no record begins here ({magic.hex()}, not {MAGIC.hex()})"
            )
        place, length = word >> LENGTH_BITS, word & ((1 << LENGTH_BITS) - 1)
        if place not in ((MIDDLE, LAST) if number > 1 else (WHOLE, FIRST)):
            raise self.fault(position, key, f"part {number} of a record has place {place}")
        return place, length, block[PART.size : PART.size + length]

    def unchanged(self) -> bool:
        """Tell whether the path still leads to the file that was opened, as it was then."""
        return self._file.unchanged()

    def _bytes(self, position: int, count: int, key: int | None) -> bytes:
        try:
            return self._file.read(position, count)
        except OSError as error:
            raise self.fault(position, key, f"cannot be read: {error.strerror}") from error


class RecordWriter:
    """Writes `X.rec` with its `X.idx`; both appear whole when the `with` block ends, or not at all.

    Records are written in the order of the calls.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._index = self.path.with_suffix(".idx")
        self._partial, self._partial_index = (
            path.with_name(f"{path.name}.partial-{os.getpid()}")
            for path in (self.path, self._index)
        )
        self._files: tuple[BinaryIO, BinaryIO] | None = None

    def __enter__(self) -> "RecordWriter":
        self._files = open(self._partial, "wb"), open(self._partial_index, "wb")
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
        assert self._files is not None, "outside of the with block"
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
        file, index = self._files
        offset = file.tell()
        file.write(_in_parts(content))
        index.write(b"%d\t%d\n" % (key, offset))
        return offset

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        assert self._files is not None
        try:
            for file in self._files:
                with file:
                    if error is None:
                        file.flush()
                        os.fsync(file.fileno())
            if error is None:
                # Killed between the renames, records have no index rather than an old one.
                self._index.unlink(missing_ok=True)
                os.replace(self._partial, self.path)
                os.replace(self._partial_index, self._index)
        finally:
            self._partial.unlink(missing_ok=True)
            self._partial_index.unlink(missing_ok=True)


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
