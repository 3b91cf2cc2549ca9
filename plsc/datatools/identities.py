"""`identities.txt` beside a record file: who its classes are."""

import os
from collections.abc import Sequence
from pathlib import Path

from plsc.errors import UserError
from plsc.files.mapped_file import read_regular

IDENTITIES = "identities.txt"
MOST_BYTES = 1 << 30  # a name of 50 bytes for each of 20 million people


def write_identities(path: Path, names: Sequence[str]) -> None:
    """Write lines `class<TAB>name`, classes from 0 on.

    Raises:
        UserError: a name that cannot be a line.

    """
    for name in names:
        if "\n" in name or "\r" in name:
            raise UserError(f"identity {name!r}: a name must be one line: rename it")
    lines = [f"{label}\t{name}\n" for label, name in enumerate(names)]
    path.write_bytes(os.fsencode("".join(lines)))


def read_identities(path: Path) -> list[str]:
    """Return the names, by class; none without such a file.

    Raises:
        UserError: a line that is not a class, the next one, and the name of a folder.

    """
    if not path.exists():
        return []
    lines = (
        os.fsdecode(read_regular(path, "list of identities", most_bytes=MOST_BYTES))
        .removesuffix("\n")
        .split("\n")
    )
    names: list[str] = []
    for number, line in enumerate(lines, start=1):
        label, _, name = line.rstrip("\r").partition("\t")
        expected = str(len(names))
        if label != expected or name in ("", ".", "..") or "/" in name or "\0" in name:
            raise UserError(
                f"{path}:{number}: must be {expected}, a tab and a folder's name, got {line!r}"
            )
        names.append(name)
    return names
