"""Tell lists of pairs from lists of images with classes."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from plsc.data.lists.list_columns import pair_form, refuse_other_encodings
from plsc.data.lists.paired_lines import read_paired_lines
from plsc.errors import UserError
from plsc.files.mapped_file import open_regular

FIRST_LINES = 20
LONGEST_LINE = 1 << 16  # bytes


def first_lines(path: str | Path) -> list[bytes]:
    """Return the first lines of a list that are not blank, without their ends.

    Raises:
        UserError: it cannot be read, or is text in another encoding than UTF-8's.

    """
    try:
        with open(open_regular(path, "list"), "rb") as file:
            read = iter(lambda: file.readline(LONGEST_LINE), b"")
            filled = (line.rstrip(b"\r\n ") for line in read if line.strip())
            lines = list(itertools.islice(filled, FIRST_LINES))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        refuse_other_encodings(lines)
    except UserError as error:
        raise UserError(f"{path}:1: {error}") from error
    return lines


def has_lfw_header(lines: Sequence[bytes]) -> bool:
    """Tell LFW's `pairs.txt` with its first line, the numbers of folds and pairs."""
    first, second, *_ = *lines, b"", b""
    numbers = first.split()
    # Paths may be numbers, too: `0001<TAB>5` begins a list of images.
    return 1 <= len(numbers) <= 2 and all(map(bytes.isdigit, numbers)) and len(second.split()) != 2


def refuse_pairs(path: str | Path) -> None:
    """Refuse a list of pairs where images with classes are wanted.

    Raises:
        UserError: it is one, by the columns of its first lines; or it cannot be read.

    """
    if not os.path.exists(path):
        return  # for the reader to say
    lines = first_lines(path)
    if pair_form(lines) is not None or has_lfw_header(lines):
        form = "a list of pairs"
    elif read_paired_lines(path) is not None:
        form = "a list of pairs as CPLFW's, two lines a pair"
    else:
        return
    raise UserError(
        f"{path}: {form} to verify, not images with classes: see plsc-data pairs and plsc-eval"
    )
