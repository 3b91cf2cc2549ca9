"""Index the records of a `.rec` file, and tell which of them are images."""

import logging
from bisect import bisect_left
from pathlib import Path
from typing import NamedTuple

import numpy as np

from plsc.data.records.index_lines import LINE, index_entries
from plsc.data.records.record_scan import find_index
from plsc.data.records.recordio import EXACT_LABELS, Record, RecordFile
from plsc.data.sets.base import BadImage
from plsc.errors import UserError

SHORTEST_LINE = 4  # bytes
MOST = 2**63 - 1

logger = logging.getLogger(__name__)


class RecordIndex(NamedTuple):
    """Records by ascending key.

    Attributes:
        keys: int [n]; a range where they follow one another, which 42 million keys mostly do.
        offsets: int64 [n], the byte where each begins.

    """

    keys: range | np.ndarray
    offsets: np.ndarray

    def rows(self, first: int, stop: int) -> "RecordIndex":
        """Return some of the records, without a copy."""
        return RecordIndex(self.keys[first:stop], self.offsets[first:stop])


def open_index(file: RecordFile) -> RecordIndex:
    """Return the records of `file`: of its `.idx`, or of one made by a scan if there is none.

    Warns of an index that ends before the file does.

    Raises:
        UserError: as `find_index` and `read_index`; or the last record is not where the index says.

    """
    path = find_index(file)
    index = read_index(path)
    last = int(index.offsets.argmax())
    key, offset = int(index.keys[last]), int(index.offsets[last])
    try:
        file.head(offset)
    except BadImage as error:
        reason = str(error).removeprefix(f"{file.path}: ")
        raise UserError(
            f"{path}: record {key}: byte offset {offset} does not fit {file.path} ({reason}): get "
            "that file whole, or delete the index, which makes a new one at the next start"
        ) from error
    if left := _bytes_behind(file, offset):
        # An index of some of the records is sound; one that is older than its file looks the same.
        logger.warning(
            "%s: does not name the last %d bytes of %s: if that has grown since, delete the index, "
            "which makes a new one at the next start",
            path,
            left,
            file.path,
        )
    return index


def _bytes_behind(file: RecordFile, offset: int) -> int:
    """Count the bytes behind the record at `offset`; none if it is damaged: reading says so."""
    try:
        for begin, length, _ in file.parts(offset):
            end = begin + length + -length % 4
    except BadImage:
        return 0
    return file.size - end


def read_index(path: str | Path) -> RecordIndex:
    """Return the records of an `.idx` file, whatever its order.

    Raises:
        UserError: no such file, a line that is not two whole numbers (names file and line), or a
            key that occurs twice.

    """
    # Keys of a set lie close together: offsets go into a table at the place of their key, which
    # needs neither the keys nor a sort. Of the table only what is written to takes memory.
    table = np.zeros(0, np.int64)
    count, first, stop = 0, MOST, 0
    for keys, offsets in index_entries(path):
        if not len(table):
            table = np.zeros(Path(path).stat().st_size // 8 + 1024, np.int64)
        first = min(first, int(keys.min(initial=MOST)))
        stop = max(stop, int(keys.max(initial=-1)) + 1)
        if stop > len(table):
            del table
            return _sorted(path)
        table[keys] = offsets + 1  # 0: no such key
        count += len(keys)
    if not count:
        raise UserError(f"{path}: holds no record, must hold lines of {LINE}")
    table = table[first:stop]
    table -= 1
    if count == len(table) == int(np.count_nonzero(table >= 0)):
        return RecordIndex(range(first, stop), table)
    return _without_gaps(path, table, first, count)


def _without_gaps(path: str | Path, table: np.ndarray, first: int, count: int) -> RecordIndex:
    """Return the entries of `table`, in place, and their keys."""
    found = int(np.count_nonzero(table >= 0))
    if found < count:
        return _sorted(path)  # which names the key that occurs twice
    keys = np.empty(count, np.uint32 if first + len(table) <= 2**32 else np.int64)
    end = 0
    for start in range(0, len(table), 1 << 20):
        block = table[start : start + (1 << 20)]
        rows = np.flatnonzero(block >= 0)
        keys[end : end + len(rows)] = rows + (first + start)
        table[end : end + len(rows)] = block[rows]
        end += len(rows)
    return RecordIndex(keys, table[:count])


def _sorted(path: str | Path) -> RecordIndex:
    """Do as `read_index`, for keys far apart or repeated."""
    table, count = np.empty((2, Path(path).stat().st_size // SHORTEST_LINE + 1), np.int64), 0
    for pair in index_entries(path):
        stop = count + len(pair[0])
        table[:, count:stop] = pair
        count = stop
    keys, offsets = table[:, :count]
    if not (keys[1:] > keys[:-1]).all():
        order = np.argsort(keys, kind="stable")
        keys, offsets = keys[order], offsets[order]
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        key, places = keys[twice[0]], offsets[twice[0] : twice[0] + 2].tolist()
        raise UserError(
            f"{path}: record {key} occurs twice, at byte offsets {places[0]} and "
            f"{places[1]}: delete this file, which makes a new one at the next start"
        )
    return RecordIndex(keys, offsets)


def image_records(file: RecordFile, keys: range | np.ndarray, offsets: np.ndarray) -> RecordIndex:
    """Return the records that hold images.

    In InsightFace's layout record 0 has labels [A, B] and no image, and the images are 1 to A - 1;
    without such a record (im2rec's layout) every record is an image.

    Args:
        file: the records.
        keys: int [n], ascending, as of `read_index`.
        offsets: int64 [n].

    Raises:
        UserError: record 0 is damaged, or counts images that the index does not have.

    """
    index = RecordIndex(keys, offsets)
    header = _header(file, index)
    if header is None:
        return index
    stop = _first_identity(file, index, header.labels[0])
    have = bisect_left(keys, stop) - 1
    if have != stop - 1:
        raise UserError(
            f"{file.path}: record 0 counts the images 1 to {stop - 1}, of which the index "
            f"has {have}"
        )
    return index.rows(1, stop)


def count_identities(file: RecordFile, index: RecordIndex) -> int | None:
    """Return how many identity records InsightFace's layout has; None if no record 0 counts them.

    Raises:
        UserError: record 0 is damaged.

    """
    header = _header(file, index)
    if header is None or len(header.labels) < 2:
        return None
    begin, end = header.labels[:2]
    if not begin < end < 2**63 or end - begin != int(end - begin):
        return None
    # Beyond 2^24 float32 kept only the nearest numbers that it can hold.
    listed = len(index.keys) - bisect_left(index.keys, _first_identity(file, index, begin))
    exact = abs(listed - (end - begin)) <= np.spacing(np.float32(end))
    return listed if exact else int(end - begin)


def _header(file: RecordFile, index: RecordIndex) -> Record | None:
    if index.keys[0] != 0:
        return None
    record = file.read(int(index.offsets[0]), key=0)
    return record if record.flag and not record.payload else None


def _first_identity(file: RecordFile, index: RecordIndex, label: float) -> int:
    """Return the key behind the last image, of which float32 kept the nearest number it holds."""
    if not 1 <= label < 2**63 or label != int(label):
        raise file.fault(int(index.offsets[0]), 0, f"label {label} is no number of images")
    if label < EXACT_LABELS:
        return int(label)
    spacing = int(np.spacing(np.float32(label)))
    near = (bisect_left(index.keys, int(label) + step) for step in (-spacing, spacing))
    for row in range(*near):
        key = int(index.keys[row])
        try:
            if not file.read(int(index.offsets[row]), key=key).payload:
                return key
        except BadImage:
            continue  # one image is damaged: reading it will say so
    return int(label)
