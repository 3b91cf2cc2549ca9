"""Embeddings on their way to a `.npy` file: whole or absent, and resumed where a run was killed.

    OUT.npy          float32 [n, d]
    OUT.index.tsv    row, path or key, class if known, what was wrong if the row is NaN
    OUT.json         what the embeddings are of

Until all is there it lies in the folder OUT.npy.partial.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from plsc.errors import UserError
from plsc.files.atomic import output_file, replace
from plsc.files.resumable_rows import INDEX, REMEDY, ResumableRows, read_object
from plsc.files.row_store import ABOUT, ROWS


class EmbeddingOutput(ResumableRows):
    """Resumable rows that become OUT.npy, OUT.index.tsv and OUT.json once all are there.

    Attributes:
        index: of the embeddings' index.
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
        super().__init__(Path(path), shape=shape, about=about, remarks=remarks)
        if self.path.suffix != ".npy":
            raise UserError(f"--out must end in .npy, got {str(path)!r}")
        self.index = self.path.with_suffix(".index.tsv")
        self._about_path = self.path.with_suffix(".json")
        same = read_object(self._about_path).get("key") == self.key
        if same and not overwrite:
            self._refuse_changed()
        elif not overwrite:
            exists = self.path.exists()
            cause = "exists, of another model, source or options" if exists else None
            self.refuse_others(cause, [self.index, self._about_path], known=False)
        present = self.path.exists() and self.index.exists()
        self.whole = same and present and not overwrite
        if self.whole:
            self.done = shape[0]

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
                f"{self.path}: is no longer the array {list(self._shape)} that was written: "
                f"{REMEDY}"
            )

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
                with output_file(target) as beside:
                    shutil.copyfile(self.partial / name, beside)
            replace(self.partial / ROWS, self.path)
            shutil.rmtree(self.partial)
        except OSError as error:
            raise self.refused(error) from error
        self.whole = True
