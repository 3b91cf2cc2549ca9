"""The list of pairs that LFW publishes: `pairs.txt`."""

import os
from dataclasses import dataclass
from pathlib import Path

from plsc.errors import UserError
from plsc.files.mapped_file import map_file


@dataclass(frozen=True, slots=True)
class LfwPair:
    """Two images by name of the person and number; `line` is where the file says so."""

    names: tuple[str, str]
    numbers: tuple[int, int]
    line: int

    @property
    def same(self) -> bool:
        """Tell whether both are of one person."""
        return self.names[0] == self.names[1]


def read_lfw_pairs(path: str | Path) -> list[LfwPair]:
    """Return the pairs in the order of the file.

    The first line has the number of folds (1 if it is left out) and of pairs of either kind per
    fold; where it is a pair already, nothing is counted. A line `name i j` is two images of one
    person, `name i other j` of two persons.

    Raises:
        UserError: no such file, a line of another kind, or not as many pairs of either kind as the
            first line counts; names file and line.

    """
    with map_file(path, "list of pairs") as data:
        rows = [(number, line) for number, line in enumerate(data[:].splitlines(), 1)]
    rows = [(number, line) for number, line in rows if line.strip()]
    if rows and len(rows[0][1].split()) > 2:
        return [_pair(number, line, path) for number, line in rows]
    folds, per_fold = _counts(rows[0] if rows else (1, b""), path)
    pairs = [_pair(number, line, path) for number, line in rows[1:]]
    for kind in (True, False):
        found = sum(pair.same == kind for pair in pairs)
        if found != folds * per_fold:
            raise UserError(
                f"{path}: {found} pairs of {'one person' if kind else 'two persons'}, the first "
                f"line counts {folds} x {per_fold}: is the file whole?"
            )
    return pairs


def _counts(row: tuple[int, bytes], path: str | Path) -> tuple[int, int]:
    fields = row[1].split()
    if not 1 <= len(fields) <= 2 or not all(_is_number(field) and int(field) for field in fields):
        raise UserError(
            f"{path}:{row[0]}: must be the numbers of folds and of pairs per fold, got {row[1]!r}"
        )
    return (1, int(fields[0])) if len(fields) == 1 else (int(fields[0]), int(fields[1]))


def _pair(number: int, line: bytes, path: str | Path) -> LfwPair:
    fields = [field.strip() for field in line.split(b"\t" if b"\t" in line else None)]
    names, numbers = fields[0:1] + fields[2:-1], fields[1:2] + fields[-1:]
    if len(fields) not in (3, 4) or not all(names) or not all(map(_is_number, numbers)):
        raise UserError(
            f"{path}:{number}: must be `name i j` or `name i name j` with whole numbers, "
            f"got {line!r}"
        )
    first, last = os.fsdecode(names[0]), os.fsdecode(names[-1])
    if len(names) == 2 and first == last:
        raise UserError(f"{path}:{number}: names {first} twice: one person is `name i j`")
    return LfwPair((first, last), (int(numbers[0]), int(numbers[1])), number)


def _is_number(field: bytes) -> bool:
    return field.isdigit() and len(field) <= 9
