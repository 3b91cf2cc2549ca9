"""Text files that name images: one image and its class per line, or two images and 0 or 1."""

import os
from pathlib import Path

import numpy as np

from plsc.data.text_lines import Lines, blocks_of_lines, line_number
from plsc.errors import UserError
from plsc.mapped_file import map_file

FLIPPED = "_hflip"


def _checked(delimiter: str) -> str:
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in "\r\n":
        raise UserError(f"delimiter must be one ASCII character, got {delimiter!r}")
    return delimiter


class LabelList:
    """`path<delimiter>label` lines; blank ones do not count.

    The text stays in the mapped file: 20 bytes of memory per line.

    Attributes:
        labels: int64 [n].

    """

    def __init__(self, path: str | Path, *, delimiter: str = "\t"):
        """Read the list.

        Raises:
            UserError: it is missing or empty, or a line is not a path and a class from 0 on; names
                file and line.

        """
        self.path = Path(path)
        self._delimiter = _checked(delimiter)
        self._data = map_file(path, "label list")
        begins, widths, labels = [], [], []
        for lines in blocks_of_lines(self._data, delimiter):
            label, sound = lines.numbers(lines.splits + 1, lines.ends)
            width = lines.splits - lines.begins
            for row in np.flatnonzero(~sound | (width < 1)):
                label[row] = self._label(lines, int(row))
            begins.append(lines.begins + lines.start)
            widths.append(width.astype(np.int32))
            labels.append(label)
        self._begins, self._widths = np.concatenate(begins), np.concatenate(widths)
        self.labels: np.ndarray = np.concatenate(labels)
        if not len(self.labels):
            raise UserError(f"{path}: the label list has no lines")

    def __len__(self) -> int:
        return len(self.labels)

    def image_path(self, row: int) -> str:
        """The path in line `row`, counted from 0 without blank lines."""
        begin = int(self._begins[row])
        return os.fsdecode(self._data[begin : begin + int(self._widths[row])])

    def where(self, row: int) -> str:
        """File and line number of line `row`."""
        return f"{self.path}:{line_number(self._data, int(self._begins[row]))}"

    def _label(self, lines: Lines, row: int) -> int:
        """The class in a line whose last column is not digits alone."""
        path, found, text = lines.line(row).rpartition(self._delimiter.encode())
        label = text.strip()
        if path.strip() and label.isdigit() and len(label) <= 18:
            return int(label)
        number = line_number(self._data, lines.start + int(lines.begins[row]))
        reason = "no path" if found else f"no delimiter {self._delimiter!r}"
        if path.strip():
            reason = f"label {os.fsdecode(label)!r} is not a whole number from 0 on"
        raise UserError(
            f"{self.path}:{number}: {reason}; a line is a path, {self._delimiter!r} and a class"
        )


def read_pairs(
    path: str | Path, *, delimiter: str = "\t"
) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Pairs of image paths and whether each is of one person, bool [P].

    The second half of a list that `lfw_style_bin_dataset_converter --flip_test` wrote, which names
    the mirrored images, is left out: evaluation mirrors in memory.

    Raises:
        UserError: the list is missing or empty, or a line is not two paths and 0 or 1; names file
            and line.

    """
    separator = _checked(delimiter).encode()
    pairs, issame = [], []
    with map_file(path, "pair list") as data:
        for number, line in enumerate(iter(data.readline, b""), start=1):
            if not line.strip():
                continue
            fields = line.rstrip(b"\r\n").rsplit(separator, 2)
            label = fields[-1].strip()
            if len(fields) != 3 or not fields[0] or not fields[1] or label not in (b"0", b"1"):
                text = os.fsdecode(line)
                raise UserError(
                    f"{path}:{number}: must be two image paths and 0 or 1, got {text!r}"
                )
            pairs.append((os.fsdecode(fields[0]), os.fsdecode(fields[1])))
            issame.append(label == b"1")
    if not pairs:
        raise UserError(f"{path}: the pair list has no lines")
    half = len(pairs) // 2
    if pairs[half:] == [(_flipped(left), _flipped(right)) for left, right in pairs[:half]]:
        return pairs[:half], np.array(issame[:half])
    return pairs, np.array(issame)


def _flipped(path: str) -> str:
    stem, suffix = os.path.splitext(path)
    return f"{stem}{FLIPPED}{suffix}"
