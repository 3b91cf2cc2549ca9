"""Text files that name images: one image and its class per line, or two images and 0 or 1."""

import os
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from plsc.data.lists.image_root import ImageRoot
from plsc.data.lists.list_layout import (
    Layout,
    MagFaceLayout,
    MxnetLayout,
    PlscLayout,
    checked_delimiter,
    delimiter_hint,
)
from plsc.data.lists.text_lines import LONGEST_LINE, Column, Lines, blocks_of_lines
from plsc.errors import UserError
from plsc.files.mapped_file import open_regular
from plsc.files.offsets import read_at

ListFormat = Literal["plsc", "magface", "face2rec2", "im2rec"]
FLIPPED = "_hflip"
LABEL_FILE = "label.txt"  # what a list is called in a folder of images


class LabelList:
    """Lines of a path and a class; blank ones do not count.

    The text stays in the file, which is kept open: 10 bytes of memory per line. A byte order mark,
    a carriage return and spaces at the end of a line are no part of it.

    Attributes:
        labels: int [n], classes from 0 on: int32, or int64 if one of them needs it.

    """

    def __init__(
        self,
        path: str | Path,
        *,
        delimiter: str = "\t",
        layout: ListFormat = "plsc",
        image_root: str | None = None,
    ):
        """Read the list.

        Args:
            path: the text file.
            delimiter: of the layout "plsc"; the last one in a line counts.
            layout: "plsc", `path<delimiter>class`; or "magface", `path 0 class 0` with blanks
                between; or a list of MXNet's tools, see `MxnetLayout`.
            image_root: the folder that no path may leave; None to let them point anywhere.

        Raises:
            UserError: the file is missing or empty, a line is not a path and a class from 0 on, or
                a path leaves `image_root`; names file and line.

        """
        self.path = Path(path)
        self._layout: Layout
        if layout in ("face2rec2", "im2rec"):
            self._layout = MxnetLayout(layout)
        elif layout == "magface":
            self._layout = MagFaceLayout()
        else:
            self._layout = PlscLayout(checked_delimiter(delimiter))
        self._root = None if image_root is None else ImageRoot(image_root)
        self._blocks: list[tuple[int, int]] = []  # where each begins: byte, line number
        self._file = open_regular(path, "label list")
        weakref.finalize(self, os.close, self._file)
        labels, offsets, widths = Column(np.int32), Column(np.uint32), Column(np.uint16)
        first_rows, rows = [], 0
        with open(self._file, "rb", closefd=False) as file:
            for lines in blocks_of_lines(file, self._layout.delimiter, path=path):
                begins, ends, label = self._columns(lines)
                self._blocks.append((lines.start, lines.number))
                first_rows.append(rows)
                rows += len(label)
                labels.append(label)
                offsets.append(begins)
                widths.append(ends - begins)
        if not rows:
            raise UserError(f"{path}: the label list has no lines")
        self.labels: np.ndarray = labels.finish()
        self._offsets, self._widths = offsets.finish(), widths.finish()
        self._first_rows = first_rows

    def __len__(self) -> int:
        return len(self.labels)

    def image_path(self, row: int) -> str:
        """Return the path in line `row`, counted from 0 without blank lines.

        Raises:
            UserError: the file has become shorter.

        """
        start, _ = self._block(row)
        return os.fsdecode(self._bytes(start + int(self._offsets[row]), int(self._widths[row])))

    def where(self, row: int) -> str:
        """Return file and line number of line `row`."""
        start, number = self._block(row)
        number += self._bytes(start, int(self._offsets[row])).count(b"\n")
        return f"{self.path}:{number}"

    def _block(self, row: int) -> tuple[int, int]:
        return self._blocks[bisect_right(self._first_rows, row) - 1]

    def _bytes(self, begin: int, width: int) -> bytes:
        # Not from a mapping: to read one of a file that was cut short ends the process.
        text = read_at(self._file, width, begin)
        if len(text) < width:
            raise UserError(f"{self.path}: the label list was cut short while it was in use")
        return text

    def _columns(self, lines: Lines) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where the paths of a block begin and end, and their classes, int64 [n]."""
        begins, ends, labels, sound = self._layout.columns(lines)
        sound &= (ends > begins) & (ends - begins <= LONGEST_LINE)
        if not self._blocks and len(sound):
            sound[0] = False
        if not sound.all():
            begins, ends = begins.copy(), ends.copy()
            kept = np.ones(len(labels), bool)
            for row in np.flatnonzero(~sound).tolist():
                kept[row] = bool(lines.line(row).strip())
                if kept[row] and not self._blocks and row == 0:
                    kept[row] = not self._layout.is_header(lines.line(row))
                if kept[row]:
                    begin, end, labels[row] = self._parsed(lines, row)
                    begins[row], ends[row] = lines.begins[row] + begin, lines.begins[row] + end
            begins, ends, labels = begins[kept], ends[kept], labels[kept]
        if self._root is not None:
            for row in self._root.suspects(lines.text, begins, ends).tolist():
                with _named(self.path, lines, begins[row]):
                    self._root.check(os.fsdecode(lines.text[begins[row] : ends[row]].tobytes()))
        return begins, ends, labels

    def _parsed(self, lines: Lines, row: int) -> tuple[int, int, int]:
        line = lines.line(row)
        with _named(self.path, lines, lines.begins[row]):
            if not self._blocks and row == 0:
                self._layout.check_first(line)
            begin, end, label = self._layout.parse(line)
            if end - begin > LONGEST_LINE:
                raise UserError(f"the path is longer than {LONGEST_LINE} bytes")
        return begin, end, label


@contextmanager
def _named(path: str | Path, lines: Lines, position: int) -> Iterator[None]:
    """Put file and line before what a line is refused for."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}:{lines.line_number(position)}: {error}") from error


def read_pairs(
    path: str | Path, *, delimiter: str = "\t", image_root: str | None = None
) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Return pairs of image paths and whether each is of one person, bool [P].

    The second half of a list that `lfw_style_bin_dataset_converter --flip_test` wrote, which names
    the mirrored images, is left out: evaluation mirrors in memory.

    Args:
        path: the text file.
        delimiter: between the three columns.
        image_root: the folder that no path may leave; None to let them point anywhere.

    Raises:
        UserError: the list is missing or empty, a line is not two paths and 0 or 1, or a path
            leaves `image_root`; names file and line.

    """
    root = None if image_root is None else ImageRoot(image_root)
    pairs, issame = [], []
    with open(open_regular(path, "pair list"), "rb") as file:
        for lines in blocks_of_lines(file, checked_delimiter(delimiter), path=path):
            for row in range(len(lines.begins)):
                line = lines.line(row)
                if not line.strip():
                    continue
                with _named(path, lines, lines.begins[row]):
                    pair, same = _pair(line, delimiter)
                    if root is not None:
                        root.check(pair[0])
                        root.check(pair[1])
                pairs.append(pair)
                issame.append(same)
    if not pairs:
        raise UserError(f"{path}: the pair list has no lines")
    half = len(pairs) // 2
    if pairs[half:] == [(_flipped(left), _flipped(right)) for left, right in pairs[:half]]:
        return pairs[:half], np.array(issame[:half])
    return pairs, np.array(issame)


def pair_lines(paths: Sequence[str], issame: Iterable[bool]) -> str:
    """Return a list as `read_pairs` reads it, of which `paths` 2i and 2i + 1 are pair i."""
    return "".join(
        f"{paths[2 * pair]}\t{paths[2 * pair + 1]}\t{int(same)}\n"
        for pair, same in enumerate(issame)
    )


def _pair(line: bytes, delimiter: str) -> tuple[tuple[str, str], bool]:
    fields = line.rsplit(delimiter.encode(), 2)
    label = fields[-1].strip()
    if len(fields) != 3 or not fields[0] or not fields[1] or label not in (b"0", b"1"):
        hint = delimiter_hint(line, delimiter)
        raise UserError(f"must be two image paths and 0 or 1, got {os.fsdecode(line)!r}{hint}")
    return (os.fsdecode(fields[0]), os.fsdecode(fields[1])), label == b"1"


def _flipped(path: str) -> str:
    stem, suffix = os.path.splitext(path)
    return f"{stem}{FLIPPED}{suffix}"
