"""Lists in the form of CPLFW and CALFW: `image flag` in each line, and two lines are a pair."""

import os
from collections import defaultdict
from pathlib import Path

import numpy as np

from plsc.data.lists.list_columns import person_of
from plsc.errors import UserError
from plsc.files.mapped_file import map_file

MOST_BYTES = 16 << 20  # CPLFW's list has 12,000 lines, 0.3 MB
MOST_FOLDS = 10  # CALFW's flag of a pair of one person is its fold's number
LEAST_MIXED = 0.3  # of all persons are in pairs of both kinds, in a list that lost a line
Row = tuple[int, str, int]  # line, path, flag


def read_paired_lines(path: str | Path) -> tuple[list[tuple[str, str]], np.ndarray] | None:
    """Return the pairs of such a list and whether each is of one person; None of another list.

    What tells it from images with classes are the names: there one person has one class, here the
    same person is in pairs of both kinds.

    Raises:
        UserError: it is such a list, but two lines do not make a pair; names the line.

    """
    rows = _rows(path)
    if rows is None or not _are_pairs(rows):
        return None
    pairs, issame = [], []
    for place in range(0, len(rows), 2):
        line, left, flag = rows[place]
        if place + 1 == len(rows):
            raise UserError(f"{path}:{line}: two lines are a pair, and this one has no second")
        _, right, other = rows[place + 1]
        if flag != other:
            raise UserError(
                f"{path}:{line}: two lines are a pair with one flag, these have {flag} and {other}"
            )
        pairs.append((left, right))
        issame.append(flag != 0)
    return pairs, np.array(issame)


def _rows(path: str | Path) -> list[Row] | None:
    """Return the lines that are not blank; None where one is no path and flag."""
    if os.path.getsize(path) > MOST_BYTES or not os.path.getsize(path):
        return None
    with map_file(path, "list") as data:
        lines = data[:].removeprefix(b"\xef\xbb\xbf").splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, flag = line.strip().replace(b"\t", b" ").rpartition(b" ")
        if not name or not flag.isdigit() or len(flag) > 2 or int(flag) > MOST_FOLDS:
            return None
        rows.append((number, os.fsdecode(name.strip()), int(flag)))
    return rows


def _are_pairs(rows: list[Row]) -> bool:
    """Tell pairs from images with classes by who stands beside whom, and how persons are flagged.

    A line lost from such a list moves all pairs behind it, and must not make images with classes
    of it: so neighbours on either side count.
    """
    persons = [person_of(path) for _, path, _ in rows]
    flags: dict[str, set[bool]] = defaultdict(set)
    beside: dict[bool, list[bool]] = {True: [], False: []}
    for place, (_, _, flag) in enumerate(rows):
        flags[persons[place]].add(flag != 0)
        near = [other for other in (place - 1, place + 1) if 0 <= other < len(rows)]
        alike = any(persons[other] == persons[place] and rows[other][2] == flag for other in near)
        beside[flag != 0].append(alike)
    if len(flags) < 2 or not beside[True] or not beside[False]:
        return False
    twice = list(zip(range(0, len(rows), 2), range(1, len(rows), 2), strict=False))
    if all(
        rows[left][2] == rows[right][2]
        and (persons[left] == persons[right]) == (rows[left][2] != 0)
        for left, right in twice
    ):
        return True
    mixed = sum(len(found) == 2 for found in flags.values()) / len(flags)
    same, different = (sum(beside[kind]) / len(beside[kind]) for kind in (True, False))
    return len(flags) > 2 and mixed >= LEAST_MIXED and same > different + 0.3
