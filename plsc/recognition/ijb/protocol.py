"""Read the files of an IJB release as InsightFace packs them: faces, pairs, gallery, probes.

IMAGE_PATH/loose_crop/<name>                         images
IMAGE_PATH/meta/ijbc_face_tid_mid.txt                <name> <template> <medium>
IMAGE_PATH/meta/ijbc_name_5pts_score.txt             <name> <x1> <y1> ... <x5> <y5> <score>
IMAGE_PATH/meta/ijbc_template_pair_label.txt         <template> <template> <1 if one person>
IMAGE_PATH/meta/ijbc_1N_gallery_G1.csv, _G2.csv, ijbc_1N_probe_mixed.csv     for search 1:N

The csv files come with the protocol and may also lie in IMAGE_PATH; without them there is no 1:N.
"""

import os
import warnings
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.files.mapped_file import regular
from plsc.recognition.ijb.search_files import Searches, read_searches, read_text
from plsc.recognition.metrics.templates import rows_of_templates

Target = Literal["IJBB", "IJBC"]
TARGETS: tuple[Target, ...] = ("IJBC", "IJBB")
IMAGES, META = "loose_crop", "meta"
NUM_COORDINATES = 10
PAIR = "two templates and 1 (one person) or 0"


@dataclass(frozen=True)
class ReleaseFaces:
    """The faces of a release, in the order of its lists.

    Attributes:
        file: the list of landmarks; its line i + 1 is face i.
        names: image names below `loose_crop`.
        points: float64 [n, 5, 2], landmarks in pixels.
        detector_scores: float64 [n].
        templates: int64 [n], template ids.
        media: int64 [n], media ids.

    """

    file: Path
    names: list[str]
    points: NDArray[np.float64]
    detector_scores: NDArray[np.float64]
    templates: NDArray[np.int64]
    media: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def where(self, row: int) -> str:
        """Return the file and line that list a face."""
        return f"{self.file}:{row + 1}"


@dataclass(frozen=True)
class Pairs:
    """Pairs of templates: two ids each, int32 [P]; `same` [P] is true if they show one person."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    same: NDArray[np.bool_]


@dataclass(frozen=True)
class Release:
    """The content of the files of a release."""

    images: Path
    faces: ReleaseFaces
    pairs: Pairs
    searches: Searches


def read_release(image_path: str | Path, target: Target) -> Release:
    """Read the lists of a release and check that they agree; do not read the images.

    Raises:
        UserError: a list is missing, a line is malformed, or the lists disagree; the message names
            file and line.

    """
    root, stem = Path(image_path), target.lower()
    if not root.is_dir():
        raise UserError(f"--image-path: {image_path} is not a folder")
    names = (f"{stem}_{kind}.txt" for kind in ("face_tid_mid", "name_5pts_score"))
    members, landmarks = (_required(root, target, META, name) for name in names)
    pair_list = _required(root, target, META, f"{stem}_template_pair_label.txt")
    images = _required(root, target, IMAGES)
    faces = _read_faces(members, landmarks)
    template_ids = np.unique(faces.templates)
    pairs = read_pairs(pair_list)
    if pairs.same.all() or not pairs.same.any():
        raise UserError(
            f"{pair_list}: must have pairs of both kinds, got {pairs.same.sum()} of one person "
            f"and {(~pairs.same).sum()} of two"
        )
    for ids in (pairs.first, pairs.second):
        rows_of_templates(template_ids, ids, str(pair_list))
    searches = read_searches([root / META, root], stem)
    for group in [*searches.galleries, *([searches.probes] if searches.probes else [])]:
        rows_of_templates(template_ids, group.templates, str(group.file))
    return Release(images, faces, pairs, searches)


def image_stamps(images: Path, faces: ReleaseFaces) -> NDArray[np.int64]:
    """Return size and time of change of each image file, int64 [n, 2].

    Raises:
        UserError: files are missing; the message names the first and gives their number.

    """
    stamps = np.zeros((len(faces), 2), np.int64)
    missing = []
    for row, name in enumerate(faces.names):
        try:
            status = os.stat(images / name)
        except (OSError, ValueError):  # ValueError: a name that holds a zero byte
            missing.append(row)
        else:
            stamps[row] = status.st_size, status.st_mtime_ns
    if missing:
        raise UserError(
            f"{images}: {len(missing)} of {len(faces)} images are missing, the first is "
            f"{faces.names[missing[0]]!r} ({faces.where(missing[0])})"
        )
    return stamps


def _required(root: Path, target: Target, *parts: str) -> Path:
    path = root.joinpath(*parts)
    if not path.exists():
        other = next(name for name in TARGETS if name != target)
        instead = path.with_name(path.name.replace(target.lower(), other.lower()))
        remedy = (
            f"is this {other}? give --target {other}"
            if instead != path and instead.exists()
            else f"--image-path must be the folder of {target} that holds {META}/ and {IMAGES}/"
        )
        raise UserError(f"{path}: is missing; {remedy}")
    return path


def _read_faces(members: Path, landmarks: Path) -> ReleaseFaces:
    names, groups = _read_rows(members, "q", 2, "image, template and medium", int)
    kind = "image, x and y of five landmarks, and a score"
    others, numbers = _read_rows(landmarks, "d", NUM_COORDINATES + 1, kind, float)
    if len(names) != len(others):
        raise UserError(
            f"{members} has {len(names)} faces, but {landmarks} has {len(others)}: both must list "
            "the same faces in the same order"
        )
    for row, (name, other) in enumerate(zip(names, others, strict=True)):
        if name != other:
            raise UserError(
                f"{landmarks}:{row + 1}: is {other!r}, but {members.name} has {name!r} there: both "
                "must list the same faces in the same order"
            )
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if len(bad):
        raise UserError(f"{landmarks}:{bad[0] + 1}: has numbers that are not finite")
    points = numbers[:, :NUM_COORDINATES].reshape(-1, NUM_COORDINATES // 2, 2)
    return ReleaseFaces(landmarks, names, points, numbers[:, -1], groups[:, 0], groups[:, 1])


def _read_rows(
    path: Path, code: str, count: int, what: str, convert: Callable[[str], Any]
) -> tuple[list[str], np.ndarray]:
    """Return lines of a name and `count` numbers: names [n], and numbers [n, count]."""
    lines = read_text(path).rstrip().split("\n")
    if lines == [""]:
        raise UserError(f"{path}: is empty, must hold lines of {what}")
    names, numbers = [], array(code)
    for number, line in enumerate(lines, start=1):
        name, *fields = line.split() or [""]
        try:
            if len(fields) != count:
                raise ValueError(fields)
            numbers.extend(map(convert, fields))
        except (ValueError, OverflowError):
            raise UserError(
                f"{path}:{number}: must be {what}, {count + 1} fields between blanks, got "
                f"{line[:80]!r}"
            ) from None
        names.append(name)
    return names, np.array(numbers).reshape(-1, count)


def read_pairs(path: Path) -> Pairs:
    """Read lines `<template> <template> <0 or 1>`; the 15.7 million of IJB-C within a second.

    Raises:
        UserError: the file cannot be read, or a line is something else; names file and line.

    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of no lines, which is said below
            with open(path, encoding="latin1", opener=regular) as file:
                numbers = np.loadtxt(file, dtype=np.int32, comments=None, ndmin=2)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(_first_bad_pair(path) or f"{path}: {error}") from error
    if not len(numbers) or numbers.shape[1] != 3 or (numbers[:, 2] & ~1).any():
        raise UserError(_first_bad_pair(path) or f"{path}: is empty, must hold lines of {PAIR}")
    first, second = (np.ascontiguousarray(numbers[:, column]) for column in (0, 1))
    return Pairs(first, second, numbers[:, 2] == 1)


def _first_bad_pair(path: Path) -> str:
    """Return a message about the first line that is not a pair; empty if all lines are pairs."""
    with open(path, encoding="utf-8", errors="surrogateescape", opener=regular) as file:
        for number, line in enumerate(file, start=1):
            fields = line.split()
            sound = len(fields) == 3 and fields[2] in ("0", "1")
            if fields and not (sound and all(_fits(field) for field in fields[:2])):
                return f"{path}:{number}: must be {PAIR}, got {line.strip()[:80]!r}"
    return ""


def _fits(text: str) -> bool:
    try:
        return abs(int(text)) <= np.iinfo(np.int32).max
    except ValueError:
        return False
