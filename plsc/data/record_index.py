"""Which records a `.rec` file has, and which of them are images."""

import mmap
from pathlib import Path

import numpy as np

from plsc.data.recordio import EXACT_LABELS, RecordFile
from plsc.data.text_lines import Lines, blocks_of_lines, line_number
from plsc.errors import UserError
from plsc.mapped_file import map_file


def read_index(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Keys and byte offsets, int64 [n] each, in the order of an `.idx` file.

    Raises:
        UserError: no such file, or a line that is not two whole numbers; names file and line.

    """
    data = map_file(path, "record index")
    columns: list[tuple[np.ndarray, np.ndarray]] = []
    for lines in blocks_of_lines(data, "\t"):
        keys, sound_keys = lines.numbers(lines.begins, lines.splits)
        offsets, sound_offsets = lines.numbers(lines.splits + 1, lines.ends)
        for row in np.flatnonzero(~(sound_keys & sound_offsets)):
            keys[row], offsets[row] = _index_line(lines, int(row), data, path)
        columns.append((keys, offsets))
    all_keys, all_offsets = zip(*columns, strict=True)
    return np.concatenate(all_keys), np.concatenate(all_offsets)


def _index_line(lines: Lines, row: int, data: mmap.mmap, path: str | Path) -> tuple[int, int]:
    fields = lines.line(row).split()
    if len(fields) != 2 or not all(field.isdigit() and len(field) <= 18 for field in fields):
        number = line_number(data, lines.start + int(lines.begins[row]))
        raise UserError(
            f"{path}:{number}: must be a key and a byte offset, got {lines.line(row)!r}"
        )
    return int(fields[0]), int(fields[1])


def image_records(
    file: RecordFile, keys: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keys and offsets of the records that hold images, in the order of their keys.

    In InsightFace's layout record 0 has labels [A, B] and no image, and the images are 1 to A - 1;
    without such a record (im2rec's layout) every record is an image.

    Raises:
        UserError: a key occurs twice, or record 0 counts images that the index does not have.

    """
    order = np.argsort(keys, kind="stable")
    keys, offsets = keys[order], offsets[order]
    repeated = keys[1:][keys[1:] == keys[:-1]]
    if len(repeated):
        raise UserError(f"{file.path}: the index has record {repeated[0]} more than once")
    if not len(keys) or keys[0] != 0:
        return keys, offsets
    header = file.read(int(offsets[0]), key=0)
    if header.flag == 0 or header.payload:
        return keys, offsets
    stop = _first_identity(file, keys, offsets, header.labels[0])
    images = slice(1, int(np.searchsorted(keys, stop)))
    if not np.array_equal(keys[images], np.arange(1, stop)):
        raise UserError(
            f"{file.path}: record 0 counts the images 1 to {stop - 1}, "
            f"of which the index has {images.stop - images.start}"
        )
    return keys[images], offsets[images]


def _first_identity(file: RecordFile, keys: np.ndarray, offsets: np.ndarray, label: float) -> int:
    """The key behind the last image, of which float32 kept only the nearest number it can hold."""
    if not 1 <= label < 2**63 or label != int(label):
        raise file.fault(int(offsets[0]), 0, f"label {label} is no number of images")
    if label < EXACT_LABELS:
        return int(label)
    spacing = int(np.spacing(np.float32(label)))
    for row in range(*np.searchsorted(keys, [int(label) - spacing, int(label) + spacing])):
        if not file.read(int(offsets[row]), key=int(keys[row])).payload:
            return int(keys[row])
    return int(label)
