"""Rows that a long run makes of images: kept in order with an index, resumed after a kill.

Until all is there they lie in the folder OUT.partial, a `RowStore` with an `index.tsv` beside.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.files.locks import only_holder
from plsc.files.mapped_file import read_json
from plsc.files.row_store import ABOUT, FINISHED, RowStore, make_store

INDEX = "index.tsv"
HEADER = b"row\tpath\tlabel\terror\n"
ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
ESCAPED = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}
REMEDY = "name another --out, or give --overwrite"

Entry = tuple[str, int, str]  # path or key, class or -1, "" or what was wrong


class ResumableRows:
    """Rows float32 [n, d] and their index, written in order.

    A context: within it, rows may be appended, and what has been is kept however it ends.

    Attributes:
        path: of the output that is made of them.
        about: what the output is of, as JSON has it.
        key: hex text that two outputs share if they depend on the same.
        partial: the folder where they lie until the output is whole.
        done: how many rows are there.

    """

    def __init__(
        self,
        path: Path,
        *,
        shape: tuple[int, int],
        about: Mapping[str, Any],
        remarks: Mapping[str, Any] = MappingProxyType({}),
    ):
        """Touch nothing yet.

        Args:
            path: of the output.
            shape: [n, d].
            about: all that the rows depend on, as JSON has it.
            remarks: what else is worth keeping with them.

        """
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        keyed = {**about, "num_images": shape[0], "dim": shape[1]}
        self.key = hashlib.sha256(json.dumps(keyed, sort_keys=True).encode()).hexdigest()
        self.about = {**remarks, **keyed, "key": self.key}
        self.done = 0
        self._shape = shape
        self._files = ExitStack()

    def refuse_others(self, cause: str | None, beside: Iterable[Path], *, known: bool) -> None:
        """Refuse to replace what lies at the output's place.

        Args:
            cause: what is wrong with the output that is there; None where there is none.
            beside: further files that would be replaced.
            known: these are of this output.

        Raises:
            UserError: something else is there, or was begun.

        """
        begun = self._begun_by()
        if begun not in (None, self.key):
            raise UserError(
                f"{self.partial}: was begun with another model, source or options: {REMEDY}"
            )
        if cause is not None:
            raise UserError(f"{self.path}: {cause}: {REMEDY}")
        for path in beside:
            if path.exists() and not (begun or known):
                raise UserError(f"{path}: exists and would be replaced: {REMEDY}")

    def _begun_by(self) -> str | None:
        return read_object(self.partial / ABOUT).get("key")

    def __enter__(self) -> "ResumableRows":
        """Begin, or go on where a run was killed.

        Raises:
            UserError: another process writes this output, or the system refuses to.

        """
        with ExitStack() as files:
            try:
                self.partial.mkdir(parents=True, exist_ok=True)
                files.enter_context(only_holder(self.partial))
                if self._begun_by() != self.key or not (self.partial / FINISHED).exists():
                    (self.partial / FINISHED).unlink(missing_ok=True)
                    (self.partial / INDEX).write_bytes(HEADER)
                    make_store(self.partial, self._shape, self.about)
                self._store = RowStore(self.partial, self._shape, self.about)
                self._lines = files.enter_context(open(self.partial / INDEX, "r+b"))
            except BlockingIOError:
                raise UserError(
                    f"{self.path}: another process is writing this output: wait for it to end, or "
                    "name another output"
                ) from None
            except OSError as error:
                raise self.refused(error) from error
            missing = self._store.missing()
            self.done = int(missing[0]) if len(missing) else self._shape[0]
            whole = sum(len(self._lines.readline()) for _ in range(self.done + 1))
            self._lines.seek(whole)
            self._lines.truncate()
            files.enter_context(self._store.filling(self._lines))
            self._files = files.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._files.__exit__(*error)

    def append(self, rows: NDArray[np.float32], entries: Sequence[Entry]) -> None:
        """Write the next rows [k, d] and their index entries [k].

        Raises:
            UserError: the system refuses to write.

        """
        lines = [
            f"{row}\t{name.translate(ESCAPES)}\t{'' if label < 0 else label}"
            f"\t{error.translate(ESCAPES)}\n"
            for row, (name, label, error) in enumerate(entries, self.done)
        ]
        try:
            self._lines.write(os.fsencode("".join(lines)))
        except OSError as error:
            raise self.refused(error) from error
        self._store.write(np.arange(self.done, self.done + len(entries)), rows)
        self.done += len(entries)

    def refused(self, error: OSError) -> UserError:
        """Return what to raise where the system refuses to write."""
        return UserError(f"{self.path}: cannot be written: {error.strerror or error}")


def read_object(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds; nothing where there is none."""
    try:
        content = read_json(path, "file")
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}


def read_index(path: Path) -> list[Entry]:
    """Return the entries of an index, in the order of their rows."""
    lines = os.fsdecode(path.read_bytes()).split("\n")[1:-1]
    entries = []
    for line in lines:
        _, name, label, error = line.split("\t")
        entries.append((_unescaped(name), int(label or -1), _unescaped(error)))
    return entries


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: ESCAPED[match[1]], text)
