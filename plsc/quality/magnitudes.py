"""Magnitudes of a set's images: measured in batches, kept when killed, published as a CSV.

    OUT.csv          path, magnitude, percentile, score, error
    OUT.about.json   what the magnitudes are of

Until all is measured it lies in the folder OUT.csv.partial.
"""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.files.atomic import write_output
from plsc.files.resumable_rows import INDEX, Entry, ResumableRows, read_index, read_object
from plsc.files.row_store import ROWS
from plsc.inference.quality_calibration import MIN_IMAGES, Calibration, refuse_constant
from plsc.quality.measures import magnitude

COLUMNS = ("path", "magnitude", "percentile", "score", "error")


@dataclass(frozen=True)
class Magnitudes:
    """The magnitudes of a set's images.

    Attributes:
        paths: of each image, or its key.
        magnitudes: float64 [n], NaN where the image could not be used.
        errors: what was wrong with it, or "".

    """

    paths: list[str]
    magnitudes: NDArray[np.float64]
    errors: list[str]

    @property
    def usable(self) -> NDArray[np.intp]:
        """Return rows of the images that could be used."""
        return np.flatnonzero(np.isfinite(self.magnitudes))


class MagnitudeOutput(ResumableRows):
    """Takes embeddings in order and keeps their magnitudes.

    Attributes:
        whole: the CSV is there, of the same model, images and options.

    """

    def __init__(
        self, path: str | Path, *, num_images: int, about: Mapping[str, Any], overwrite: bool
    ):
        """Find out what is there of the CSV.

        Args:
            path: ends in `.csv`.
            num_images: of the set.
            about: all that the magnitudes depend on, as JSON has it.
            overwrite: replace what is finished or begun of anything else, and what is finished of
                the same; it stays until the new file is whole.

        Raises:
            UserError: something else is there, or the path is wrong.

        """
        super().__init__(Path(path), shape=(num_images, 1), about=about)
        if self.path.suffix != ".csv":
            raise UserError(f"--out must end in .csv, got {str(path)!r}")
        self._about_path = self.path.with_suffix(".about.json")
        said = read_object(self._about_path)
        self._digest = _digest_of(self.path)
        same = said.get("key") == self.key
        written = self._digest != "" and self._digest in (said.get("csv"), said.get("replaces"))
        self.whole = same and written and not overwrite
        if not self.whole and not overwrite:
            changed = "was changed since it was written"
            cause = changed if same else "exists, of another model, source or options"
            self.refuse_others(cause if self._digest else None, [self._about_path], known=same)

    def append(self, rows: NDArray[np.float32], entries: Sequence[Entry]) -> None:
        """Keep the magnitudes of the next embeddings [k, d].

        Raises:
            UserError: they are all the same, as where the model normalises its embeddings; the
                system refuses to write.

        """
        lengths = magnitude(rows)
        usable = lengths[np.isfinite(lengths)]
        # At the first batch rather than after all of them, which may be hours.
        if not self.done and len(usable) >= MIN_IMAGES and abs(usable[0] - 1) < 0.1:
            refuse_constant(usable)
        super().append(lengths.astype(np.float32)[:, None], entries)

    def measured(self) -> Magnitudes:
        """Return all magnitudes, once they are there: from a whole CSV, else as measured."""
        if self.whole:
            with open(self.path, newline="", encoding="utf-8", errors="surrogateescape") as file:
                _, *lines = csv.reader(file)
            lengths = np.array([line[1] or "nan" for line in lines]).astype(np.float32)
            paths, errors = [line[0] for line in lines], [line[4] for line in lines]
            return Magnitudes(paths, lengths.astype(np.float64), errors)
        assert self.done == self._shape[0], (self.done, self._shape)
        lengths = np.load(self.partial / ROWS)[:, 0].astype(np.float64)
        entries = read_index(self.partial / INDEX)
        paths, errors = [name for name, _, _ in entries], [why for _, _, why in entries]
        return Magnitudes(paths, lengths, errors)

    def publish(
        self, measured: Magnitudes, calibration: Calibration | None, *, remarks: Mapping[str, Any]
    ) -> None:
        """Write the CSV, unless it is there with the same content.

        Args:
            measured: what `measured` gives.
            calibration: gives percentiles and scores; None leaves them empty.
            remarks: what else is worth keeping beside the CSV.

        Raises:
            UserError: the system refuses.

        """
        text = csv_of(measured, calibration).encode(errors="surrogateescape")
        digest = hashlib.sha256(text).hexdigest()
        try:
            if not self.whole:  # all is in the partial folder: killed below, it is published again
                self.path.unlink(missing_ok=True)
            if not self.whole or digest != self._digest:
                about = {**remarks, **self.about, "csv": digest}
                about |= {"replaces": self._digest} if self.whole else {}
                write_output(self._about_path, json.dumps(about, indent=1) + "\n")
                write_output(self.path, text)
            if self.partial.exists():
                shutil.rmtree(self.partial)
        except OSError as error:
            raise self.refused(error) from error
        self.whole, self._digest = True, digest


def csv_of(measured: Magnitudes, calibration: Calibration | None) -> str:
    """Return the table; magnitudes have all digits of a float32, to be read as they were."""
    nothing = np.full(len(measured.paths), np.nan)
    percentiles = calibration.percentiles(measured.magnitudes) if calibration else nothing
    scores = calibration.scores(measured.magnitudes) if calibration else nothing
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    # Not every Python quotes a carriage return, which ends a line to a reader.
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(COLUMNS)
    for path, length, percentile, score, error in zip(
        measured.paths, measured.magnitudes, percentiles, scores, measured.errors, strict=True
    ):
        row = [path, _number(length, ".9g"), _number(percentile), _number(score), error]
        (quoted if "\r" in path + error else plain).writerow(row)
    return text.getvalue()


def _number(value: float, digits: str = ".2f") -> str:
    return format(value, digits) if np.isfinite(value) else ""


def _digest_of(path: Path) -> str:
    """Return the sha256 of a file in hex; "" where there is none."""
    if not os.path.lexists(path):
        return ""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
