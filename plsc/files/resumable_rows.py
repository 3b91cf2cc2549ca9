"""Rows of numbers that a long run measures of images: kept in order, resumed where it was killed.

Until all is there it lies in the folder OUT.partial, whose `progress.json` says how many rows are
safe.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.files.atomic import write_text
from plsc.files.locks import only_holder

ROWS, INDEX, ABOUT, PROGRESS = "embeddings.npy", "index.tsv", "about.json", "progress.json"
HEADER = b"row\tpath\tlabel\terror\n"
ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
ESCAPED = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}
MARK_SECONDS = 1.0  # of work that a kill costs, at most

Entry = tuple[str, int, str]  # path or key, class or -1, "" or what was wrong


class ResumableRows:
    """Rows float32 [n, d] and their index, written in order.

    A context: within it, rows may be appended, and what has been is kept however it ends.

    Attributes:
        path: of the output that is made of them.
        about: what the output is of, as JSON has it.
        key: hex text that two outputs share if they depend on the same.
        partial: the folder where they lie until the output is whole.

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
        self._shape = shape
        self._files = ExitStack()
        self._kept = (0, len(HEADER))  # rows, bytes of the index

    @property
    def done(self) -> int:
        """How many rows are there."""
        return self._kept[0]

    def begun_by(self) -> str | None:
        """The key of what lies in the partial folder; None where nothing does."""
        return read_object(self.partial / PROGRESS).get("key")

    def __enter__(self) -> "ResumableRows":
        """Begin, or go on where a run was killed.

        Raises:
            UserError: another process writes this output, or the system refuses to.

        """
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            self._files.enter_context(only_holder(self.partial))
            progress = read_object(self.partial / PROGRESS)
            if progress.get("key") != self.key or not (self.partial / ROWS).exists():
                self._begin()
                progress = read_object(self.partial / PROGRESS)
            self._kept = progress["done"], progress["index_bytes"]
            self._rows = self._files.enter_context(open(self.partial / ROWS, "r+b"))
            self._lines = self._files.enter_context(open(self.partial / INDEX, "r+b"))
            self._rows.seek(-4 * self._shape[1] * (self._shape[0] - self.done), os.SEEK_END)
            self._lines.truncate(self._kept[1])
            self._lines.seek(0, os.SEEK_END)
        except BlockingIOError:
            self._files.close()
            raise UserError(f"{self.path}: another process is writing this output") from None
        except OSError as error:
            self._files.close()
            raise self.refused(error) from error
        self._marked = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._files:
            try:
                self._mark()
            except OSError as failure:
                if error is None:
                    raise self.refused(failure) from failure

    def append(self, rows: NDArray[np.float32], entries: Sequence[Entry]) -> None:
        """Write the next rows [k, d] and their index entries [k].

        Raises:
            UserError: the system refuses to write.

        """
        assert rows.shape == (len(entries), self._shape[1]), (rows.shape, len(entries))
        lines = [
            f"{row}\t{name.translate(ESCAPES)}\t{'' if label < 0 else label}"
            f"\t{error.translate(ESCAPES)}\n"
            for row, (name, label, error) in enumerate(entries, self.done)
        ]
        text = os.fsencode("".join(lines))
        try:
            self._rows.write(np.ascontiguousarray(rows, "<f4").tobytes())
            self._lines.write(text)
            self._kept = self.done + len(entries), self._kept[1] + len(text)
            if time.monotonic() - self._marked >= MARK_SECONDS:
                self._mark()
        except OSError as error:
            raise self.refused(error) from error

    def _begin(self) -> None:
        """Files of full size without content, and the mark that nothing is done, at last."""
        (self.partial / PROGRESS).unlink(missing_ok=True)
        header = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        with open(self.partial / ROWS, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + 4 * self._shape[0] * self._shape[1])
        (self.partial / INDEX).write_bytes(HEADER)
        text = json.dumps(self.about, indent=1)
        (self.partial / ABOUT).write_text(text + "\n", encoding="utf-8")
        self._write_progress(0, len(HEADER))

    def _mark(self) -> None:
        for file in (self._rows, self._lines):
            file.flush()
            os.fsync(file.fileno())
        self._write_progress(*self._kept)
        self._marked = time.monotonic()

    def _write_progress(self, done: int, index_bytes: int) -> None:
        progress = {"key": self.key, "done": done, "index_bytes": index_bytes}
        write_text(self.partial / PROGRESS, json.dumps(progress))

    def refused(self, error: OSError) -> UserError:
        """What to raise where the system refuses to write."""
        return UserError(f"{self.path}: cannot be written: {error.strerror or error}")


def read_object(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_index(path: Path) -> list[Entry]:
    """The entries of an index, in the order of their rows."""
    lines = os.fsdecode(path.read_bytes()).split("\n")[1:-1]
    entries = []
    for line in lines:
        _, name, label, error = line.split("\t")
        entries.append((_unescaped(name), int(label or -1), _unescaped(error)))
    return entries


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: ESCAPED[match[1]], text)
