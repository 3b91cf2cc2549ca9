"""Measure the magnitudes of a set's images in batches, resumably, and publish them as a CSV.

    OUT.csv          path, magnitude, percentile, score, error
    OUT.about.json   the model, images and options behind the magnitudes

Until all images are measured, the rows lie in the folder OUT.csv.partial.
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
        paths: path or key of each image.
        magnitudes: float64 [n], NaN where the image could not be used.
        errors: the reason why an image could not be used, or "".

    """

    paths: list[str]
    magnitudes: NDArray[np.float64]
    errors: list[str]

    @property
    def usable(self) -> NDArray[np.intp]:
        """Return the rows of the images that could be used."""
        return np.flatnonzero(np.isfinite(self.magnitudes))


class MagnitudeOutput(ResumableRows):
    """Take embeddings in order and keep their magnitudes.

    Attributes:
        whole: true if a finished CSV of the same model, images and options exists.

    """

    def __init__(
        self, path: str | Path, *, num_images: int, about: Mapping[str, Any], overwrite: bool
    ):
        """Look for a finished or begun CSV at `path`.

        Args:
            path: path of the CSV; it ends in `.csv`.
            num_images: number of images of the set.
            about: everything that the magnitudes depend on, as data for JSON.
            overwrite: replace any finished file, and begun rows of anything else. A finished file
                stays until the new one is complete.

        Raises:
            UserError: another file is there, or `path` does not end in `.csv`.

        """
        super().__init__(Path(path), shape=(num_images, 1), about=about)
        if self.path.suffix != ".csv":
            raise UserError(f"--out must end in .csv, got {str(path)!r}")
        self._about_path = self.path.with_suffix(".about.json")
        recorded = read_object(self._about_path)
        self._digest = _digest_of(self.path)
        same = recorded.get("key") == self.key
        digests = recorded.get("csv"), recorded.get("replaces")
        written = self._digest != "" and self._digest in digests
        self.whole = same and written and not overwrite
        if not self.whole and not overwrite:
            changed = "was changed since it was written"
            cause = changed if same else "exists, of another model, source or options"
            self.refuse_others(cause if self._digest else None, [self._about_path], known=same)

    def append(self, rows: NDArray[np.float32], entries: Sequence[Entry]) -> None:
        """Keep the magnitudes of the next embeddings [k, d].

        Raises:
            UserError: all magnitudes are equal, because the model normalises its embeddings; or the
                file cannot be written.

        """
        lengths = magnitude(rows)
        usable = lengths[np.isfinite(lengths)]
        # Check at the first batch: measuring all images may take hours.
        if not self.done and len(usable) >= MIN_IMAGES and abs(usable[0] - 1) < 0.1:
            refuse_constant(usable)
        super().append(lengths.astype(np.float32)[:, None], entries)

    def measured(self) -> Magnitudes:
        """Return all magnitudes from a finished CSV or, after the last `append`, from the rows."""
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
        """Write the CSV, unless it exists with the same content.

        Args:
            measured: the magnitudes that `measured` returns.
            calibration: calibration of percentiles and scores; None leaves these columns empty.
            remarks: further entries for OUT.about.json.

        Raises:
            UserError: a file cannot be written.

        """
        text = csv_of(measured, calibration).encode(errors="surrogateescape")
        digest = hashlib.sha256(text).hexdigest()
        try:
            if (
                not self.whole
            ):  # the partial folder has all rows: after a kill they are published again
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
    """Return the table; magnitudes have all digits of a float32, so that they read back equal."""
    nothing = np.full(len(measured.paths), np.nan)
    percentiles = calibration.percentiles(measured.magnitudes) if calibration else nothing
    scores = calibration.scores(measured.magnitudes) if calibration else nothing
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    # Some versions of Python do not quote a carriage return, which readers take for a line end.
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
    """Return the SHA-256 of a file in hex, or "" if the file does not exist."""
    if not os.path.lexists(path):
        return ""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
