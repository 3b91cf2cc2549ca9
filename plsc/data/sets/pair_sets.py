"""Verification sets as a command line names them: pairs of images, each set with a name."""

from collections.abc import Iterable
from pathlib import Path

from plsc.data.lists.image_root import shown
from plsc.data.sets.paired_images import PairedImages, open_pairs
from plsc.errors import UserError

# Lists are called this in every set's folder: the folder tells one set from another.
LIST_STEMS = {"label", "labels", "list", "pairs"}


def open_pair_set(
    path: str | Path, image_root: str | Path | None = None
) -> tuple[str, PairedImages]:
    """The set at `path` and its name.

    Args:
        path: as for `open_pairs`.
        image_root: the folder that a list's paths begin at; the list's own if not given.

    Raises:
        UserError: there is no set of pairs, or a damaged one.

    """
    if not Path(path).exists():
        raise UserError(f"{shown(str(path))}: no such file")
    pairs = open_pairs(path, image_root)
    if pairs is None:
        raise UserError(
            f"{shown(str(path))}: is no verification set: neither a .bin file, nor a folder with "
            "label.txt, nor a list of lines path<TAB>path<TAB>0 or 1, nor LFW's pairs.txt"
        )
    return set_name(path), pairs


def set_name(path: str | Path) -> str:
    """What the set at `path` is called: its folder's or its file's name, fit for a line of text."""
    place = Path(path).absolute()
    name = place.name if place.is_dir() else place.stem
    if not place.is_dir() and name in LIST_STEMS:
        name = place.parent.name
    return shown(name)


def distinct(names: Iterable[str]) -> list[str]:
    """`names`, with a number behind those that have occurred before."""
    found: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in found:
            number += 1
            candidate = f"{name}_{number}"
        found.append(candidate)
    return found
