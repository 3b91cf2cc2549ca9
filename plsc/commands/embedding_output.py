"""Embeddings on their way to a `.npy` file: whole or absent, and resumed where a run was killed.

    OUT.npy          float32 [n, d]
    OUT.index.tsv    row, path or key, class if known, what was wrong if the row is NaN
    OUT.json         what the embeddings are of

Until all is there it lies in the folder OUT.npy.partial, whose `progress.json` says how many rows
are safe.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plsc.data.finished_file import finished_file
from plsc.errors import UserError

ROWS, INDEX, ABOUT, PROGRESS = "embeddings.npy", "index.tsv", "about.json", "progress.json"
HEADER = b"row\tpath\tlabel\terror\n"
ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
MARK_SECONDS = 1.0  # of work that a kill costs, at most

Entry = tuple[str, int, str]  # path or key, class or -1, "" or what was wrong


class EmbeddingOutput:
    """Rows float32 [n, d] and their index, written in order.

    A context: within it, rows may be appended, and what has been is kept however it ends.

    Attributes:
        path: of the embeddings.
        index: of their index.
        whole: the embeddings are there, and nothing is left to do.

    """

    def __init__(
        self,
        path: str | Path,
        *,
        shape: tuple[int, int],
        about: Mapping[str, Any],
        remarks: Mapping[str, Any] = MappingProxyType({}),
        overwrite: bool = False,
    ):
        """Look what is there.

        Args:
            path: ends in `.npy`.
            shape: [n, d].
            about: all that the embeddings depend on, as JSON has it.
            remarks: what else is worth keeping in OUT.json.
            overwrite: replace what is finished or begun of anything else, and what is finished of
                the same; it stays until the new file is whole.

        Raises:
            UserError: something else is there, or the path is wrong.

        """
        self.path = Path(path)
        if self.path.suffix != ".npy":
            raise UserError(f"--out must end in .npy, got {str(path)!r}")
        self.index = self.path.with_suffix(".index.tsv")
        self._about_path = self.path.with_suffix(".json")
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._shape = shape
        keyed = {**about, "num_images": shape[0], "dim": shape[1]}
        self._key = hashlib.sha256(json.dumps(keyed, sort_keys=True).encode()).hexdigest()
        self._about = {**remarks, **keyed, "key": self._key}
        self._files = ExitStack()
        same = _read(self._about_path).get("key") == self._key
        if same and not overwrite:
            self._refuse_changed()
        elif not overwrite:
            self._refuse_others()
        present = self.path.exists() and self.index.exists()
        self.whole = same and present and not overwrite
        self._kept = (shape[0] if self.whole else 0, len(HEADER))  # rows, bytes of the index

    @property
    def done(self) -> int:
        """How many rows are there."""
        return self._kept[0]

    def _refuse_changed(self) -> None:
        """Refuse rows that somebody has changed since: they may be of worth to him."""
        try:
            shape = np.load(self.path, mmap_mode="r").shape
        except FileNotFoundError:
            return
        except (OSError, ValueError, EOFError):
            shape = ()
        if shape != self._shape:
            raise UserError(
                f"{self.path}: is no longer the array {list(self._shape)} that was written: name "
                "another --out, or give --overwrite"
            )

    def _refuse_others(self) -> None:
        remedy = "name another --out, or give --overwrite"
        begun = _read(self._partial / PROGRESS).get("key")
        if begun not in (None, self._key):
            raise UserError(
                f"{self._partial}: was begun with another model, source or options: {remedy}"
            )
        if self.path.exists():
            raise UserError(f"{self.path}: exists, of another model, source or options: {remedy}")
        for path in (self.index, self._about_path):
            if path.exists() and not begun:
                raise UserError(f"{path}: exists and would be replaced: {remedy}")

    def __enter__(self) -> "EmbeddingOutput":
        """Begin, or go on where a run was killed.

        Raises:
            UserError: another process writes this output, or the system refuses to.

        """
        assert not self.whole
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._partial, os.O_RDONLY)
            self._files.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            progress = _read(self._partial / PROGRESS)
            if progress.get("key") != self._key or not (self._partial / ROWS).exists():
                self._begin()
                progress = _read(self._partial / PROGRESS)
            self._kept = progress["done"], progress["index_bytes"]
            self._rows = self._files.enter_context(open(self._partial / ROWS, "r+b"))
            self._lines = self._files.enter_context(open(self._partial / INDEX, "r+b"))
            self._rows.seek(-4 * self._shape[1] * (self._shape[0] - self.done), os.SEEK_END)
            self._lines.truncate(self._kept[1])
            self._lines.seek(0, os.SEEK_END)
        except BlockingIOError:
            self._files.close()
            raise UserError(f"{self.path}: another process is writing this output") from None
        except OSError as error:
            self._files.close()
            raise self._refused(error) from error
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
                    raise self._refused(failure) from failure

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
            raise self._refused(error) from error

    def publish(self) -> None:
        """Give the files their names; after the context, when all rows are there.

        Raises:
            UserError: the system refuses.

        """
        assert self.done == self._shape[0], (self.done, self._shape)
        try:
            # The embeddings go first and come last: killed in between, nothing is left that passes
            # for whole, and the next run does this again.
            self.path.unlink(missing_ok=True)
            for name, target in ((INDEX, self.index), (ABOUT, self._about_path)):
                with finished_file(target) as beside:
                    shutil.copyfile(self._partial / name, beside)
            os.replace(self._partial / ROWS, self.path)
            shutil.rmtree(self._partial)
        except OSError as error:
            raise self._refused(error) from error
        self.whole = True

    def _begin(self) -> None:
        """Files of full size without content, and the mark that nothing is done, at last."""
        (self._partial / PROGRESS).unlink(missing_ok=True)
        header = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        with open(self._partial / ROWS, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + 4 * self._shape[0] * self._shape[1])
        (self._partial / INDEX).write_bytes(HEADER)
        text = json.dumps(self._about, indent=1)
        (self._partial / ABOUT).write_text(text + "\n", encoding="utf-8")
        self._write_progress(0, len(HEADER))

    def _mark(self) -> None:
        for file in (self._rows, self._lines):
            file.flush()
            os.fsync(file.fileno())
        self._write_progress(*self._kept)
        self._marked = time.monotonic()

    def _write_progress(self, done: int, index_bytes: int) -> None:
        beside = self._partial / f"{PROGRESS}.new"
        beside.write_text(json.dumps({"key": self._key, "done": done, "index_bytes": index_bytes}))
        os.replace(beside, self._partial / PROGRESS)

    def _refused(self, error: OSError) -> UserError:
        return UserError(f"{self.path}: cannot be written: {error.strerror or error}")


def _read(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
