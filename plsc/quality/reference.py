"""Choose the calibration for percentiles and scores: a file's, the model's, or one learned now."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from plsc.errors import UserError
from plsc.files.atomic import write_output
from plsc.files.mapped_file import read_json
from plsc.files.resumable_rows import read_object
from plsc.inference.calibration import require_alike
from plsc.inference.model_info import ModelInfo
from plsc.inference.quality_calibration import MIN_IMAGES, Calibration
from plsc.inference.stored_measurements import store
from plsc.quality.magnitudes import Magnitudes
from plsc.recognition.embedder import Embedder

REMEDY = "name another --calibration, or give --overwrite"
ENOUGH = 100  # images whose quartiles are known to a few percentiles


@dataclass(frozen=True)
class Reference:
    """The calibration that percentiles and scores are relative to.

    Attributes:
        calibration: None gives neither.
        origin: "file", "model", "images" (those at hand), or "none".
        notes: lines for standard error.

    """

    calibration: Calibration | None
    origin: Literal["file", "model", "images", "none"]
    notes: tuple[str, ...] = ()


def given(embedder: Embedder, file: str | None) -> Reference:
    """Return the calibration in `file`, else the model's own, else none; before any image is read.

    Raises:
        UserError: it is damaged, or of images that were prepared otherwise.

    """
    info, notes = embedder.info, []
    found, origin = (info.calibration, "model") if file is None else (None, "file")
    if file is not None:
        content = _content(file)
        found = Calibration.from_dict(content, source=file)
        made_with = content.get("model")
        if isinstance(made_with, Mapping) and made_with.get("digest") != embedder.digest:
            notes.append(
                f"{file}: was made with {str(made_with.get('path'))[:200]!r}, which is another "
                "file: its scores hold only if both hold the same network"
            )
    if found is None:
        return Reference(None, "none")
    require_alike(found, info.preparation)
    return Reference(found, "file" if origin == "file" else "model", tuple(notes))


def learned(measured: Magnitudes, info: ModelInfo, set_name: str) -> Reference:
    """Return the calibration that the images at hand teach.

    Raises:
        UserError: they teach none.

    """
    lengths = measured.magnitudes[measured.usable]
    found = Calibration.fit(lengths, set_name=set_name, prepared=info.preparation)
    few = f"{len(lengths)} images are few to calibrate by: hundreds of all qualities are better"
    return Reference(found, "images", (few,) if len(lengths) < ENOUGH else ())


def relative(measured: Magnitudes, info: ModelInfo, set_name: str) -> Reference:
    """Return the images at hand as their own reference, where nothing else is known.

    Raises:
        UserError: their magnitudes are all the same.

    """
    count, remedy = len(measured.usable), "--calibrate with a reference set mends that"
    if count < MIN_IMAGES:
        note = (
            f"no calibration, and {count} {'image is' if count == 1 else 'images are'} too few to "
            f"compare with each other ({MIN_IMAGES} are needed): magnitudes alone; {remedy}"
        )
        return Reference(None, "none", (note,))
    note = f"no calibration: percentiles and scores are relative to these {count} images; {remedy}"
    return replace(learned(measured, info, set_name), notes=(note,))


def require_own(file: str, key: str) -> None:
    """Refuse, before the images are measured, to replace a file that is of something else.

    Args:
        file: where `keep` is to save a calibration; may be missing.
        key: what `keep` is given.

    Raises:
        UserError: the file is there, and of other images, another model or other options.

    """
    if os.path.lexists(file) and read_object(Path(file)).get("key") != key:
        raise UserError(f"{file}: exists, of another model, source or options: {REMEDY}")


def keep(
    calibration: Calibration, embedder: Embedder, file: str | None, *, key: str, overwrite: bool
) -> tuple[Path, str]:
    """Save what was learned in `file`, else in the model; return where, and what it replaced or "".

    Args:
        calibration: what was learned.
        embedder: the model.
        file: the file, if any.
        key: of what the magnitudes depend on, kept in the file.
        overwrite: replace another calibration in `file`.

    Raises:
        UserError: another calibration is in `file`, or the system refuses to write.

    """
    info, before = embedder.info, embedder.info.calibration
    if file is None:
        replaced = "" if before in (None, calibration) else _named(before)
        if before == calibration:
            return Path(info.path), ""
        return store(info.kind, Path(info.path), "quality", calibration.to_dict()), replaced
    made_with = {"path": info.path, "digest": embedder.digest}
    content = {**calibration.to_dict(), "model": made_with, "key": key}
    text = json.dumps(content, indent=1) + "\n"
    path = Path(file)
    if path.exists():
        if path.read_bytes() == text.encode():
            return path, ""
        if not overwrite:
            raise UserError(f"{file}: exists, and is not this calibration: {REMEDY}")
    write_output(path, text)
    return path, ""


def _named(calibration: Calibration) -> str:
    return f"{calibration.set_name or 'a set without name'} ({calibration.num_images} images)"


def _content(file: str) -> Any:
    try:
        return read_json(file, "file")
    except UserError as error:
        raise UserError(f"--calibration {error}") from error
