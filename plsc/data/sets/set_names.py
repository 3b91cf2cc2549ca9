"""Name verification sets in tables and reports."""

from collections.abc import Iterable
from pathlib import Path

from plsc.data.lists.image_root import shown

# Lists are called this in every set's folder: the folder tells one set from another.
LIST_STEMS = {"label", "labels", "list", "pairs"}


def set_name(path: str | Path) -> str:
    """Return what the set at `path` is called: its folder's or file's name, fit for a line."""
    place = Path(path).absolute()
    name = place.name if place.is_dir() else place.stem
    if not place.is_dir() and name in LIST_STEMS:
        name = place.parent.name
    return shown(name)


def distinct(names: Iterable[str]) -> list[str]:
    """Return `names`, with a number behind those that have occurred before."""
    found: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in found:
            number += 1
            candidate = f"{name}_{number}"
        found.append(candidate)
    return found
