"""Read the gallery and probe files of the IJB protocols: templates and their subjects."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.files.mapped_file import regular

GALLERY, PROBES = "_1N_gallery_*.csv", "_1N_probe_mixed.csv"
TEMPLATE_COLUMN, SUBJECT_COLUMN = "TEMPLATE_ID", "SUBJECT_ID"


@dataclass(frozen=True)
class Subjects:
    """Templates, int64 [t], and the subject of each, int64 [t]; `name` is for example G1."""

    file: Path
    name: str
    templates: NDArray[np.int64]
    subjects: NDArray[np.int64]


@dataclass(frozen=True)
class Searches:
    """The probes and the galleries to search; if either is missing, nothing is searched."""

    galleries: Sequence[Subjects]
    probes: Subjects | None


def read_searches(folders: Sequence[Path], stem: str) -> Searches:
    """Read `<stem>_1N_gallery_<name>.csv` and `<stem>_1N_probe_mixed.csv` if they exist.

    Args:
        folders: folders to look in; the first with galleries and the first with probes are used.
        stem: ijbb or ijbc.

    Raises:
        UserError: a file cannot be read, or a line is malformed; the message names file and line.

    """
    files: list[Path] = next(filter(None, (sorted(f.glob(stem + GALLERY)) for f in folders)), [])
    probes = [path for folder in folders if (path := folder / (stem + PROBES)).exists()]
    galleries = [_read_subjects(file, file.stem.rpartition("_")[2]) for file in files]
    if not probes:
        return Searches(galleries, None)
    searched = _read_subjects(probes[0], "probe_mixed")
    for gallery in galleries:
        if not np.isin(searched.subjects, gallery.subjects).any():
            raise UserError(
                f"{gallery.file}: none of its {len(gallery.subjects)} subjects is in "
                f"{searched.file.name}: are the files of one release?"
            )
    return Searches(galleries, searched)


def read_text(path: Path) -> str:
    """Return the text of a list.

    Raises:
        UserError: the file cannot be read.

    """
    try:
        # File names need not be valid text in any encoding.
        with open(path, encoding="utf-8-sig", errors="surrogateescape", opener=regular) as file:
            return file.read()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _read_subjects(path: Path, name: str) -> Subjects:
    """Return each template with its subject; the file has a line for each image of a template."""
    subjects: dict[int, int] = {}
    rows = csv.reader(read_text(path).splitlines())
    header = [field.strip().upper() for field in next(rows, [])]
    if not {TEMPLATE_COLUMN, SUBJECT_COLUMN} <= set(header):
        raise UserError(
            f"{path}:1: must name the columns {TEMPLATE_COLUMN} and {SUBJECT_COLUMN}, got "
            f"{','.join(header)[:80]!r}"
        )
    columns = header.index(TEMPLATE_COLUMN), header.index(SUBJECT_COLUMN)
    for fields in rows:
        if not fields:
            continue
        try:
            template, subject = (int(fields[column]) for column in columns)
        except (ValueError, IndexError):
            raise UserError(
                f"{path}:{rows.line_num}: template and subject must be whole numbers, got "
                f"{','.join(fields)[:80]!r}"
            ) from None
        if subjects.setdefault(template, subject) != subject:
            raise UserError(
                f"{path}:{rows.line_num}: template {template} is of subject {subject}, above it "
                f"was of {subjects[template]}"
            )
    if not subjects:
        raise UserError(f"{path}: has no templates")
    return Subjects(path, name, np.array([*subjects]), np.array([*subjects.values()]))
