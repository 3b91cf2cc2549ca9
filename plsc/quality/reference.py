"""Choose the calibration of percentiles and scores: from a file, from the model, or learned now."""

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
ENOUGH = 100  # with so many images, quartiles are accurate to a few percentiles


@dataclass(frozen=True)
class Reference:
    """The calibration that percentiles and scores are relative to.

    Attributes:
        calibration: the calibration; None if there are neither percentiles nor scores.
        origin: source of the calibration: "file", "model", "images" (those measured), or "none".
        notes: lines for standard error.

    """

    calibration: Calibration | None
    origin: Literal["file", "model", "images", "none"]
    notes: tuple[str, ...] = ()


def stored(embedder: Embedder, file: str | None) -> Reference:
    """Return the calibration in `file`, or else the model's own, or else none.

    Call it before any image is read.

    Raises:
        UserError: the calibration is damaged, or its images were prepared in another way.

    """
    info, notes = embedder.info, []
    calibration, origin = (info.calibration, "model") if file is None else (None, "file")
    if file is not None:
        content = _content(file)
        calibration = Calibration.from_dict(content, source=file)
        made_with = content.get("model")
        if isinstance(made_with, Mapping) and made_with.get("digest") != embedder.digest:
            notes.append(
                f"{file}: was made with another model file, {str(made_with.get('path'))[:200]!r}: "
                "its scores are valid only if both files hold the same network"
            )
    if calibration is None:
        return Reference(None, "none")
    require_alike(calibration, info.preparation)
    return Reference(calibration, "file" if origin == "file" else "model", tuple(notes))


def learned(measured: Magnitudes, info: ModelInfo, set_name: str) -> Reference:
    """Return a calibration fitted to the measured images.

    Raises:
        UserError: the images are too few, or their magnitudes are all equal.

    """
    lengths = measured.magnitudes[measured.usable]
    calibration = Calibration.fit(lengths, set_name=set_name, prepared=info.preparation)
    few = f"{len(lengths)} images are few for a calibration: use hundreds, of all qualities"
    return Reference(calibration, "images", (few,) if len(lengths) < ENOUGH else ())


def relative(measured: Magnitudes, info: ModelInfo, set_name: str) -> Reference:
    """Return the measured images as their own reference, if there is no other calibration.

    Raises:
        UserError: their magnitudes are all equal.

    """
    count, remedy = len(measured.usable), "run --calibrate on a reference set"
    if count < MIN_IMAGES:
        note = (
            f"no calibration, and {count} {'image is' if count == 1 else 'images are'} too few to "
            f"compare with each other ({MIN_IMAGES} are needed): magnitudes only; {remedy}"
        )
        return Reference(None, "none", (note,))
    note = f"no calibration: percentiles and scores are relative to these {count} images; {remedy}"
    return replace(learned(measured, info, set_name), notes=(note,))


def require_own(file: str, key: str) -> None:
    """Refuse, before the images are measured, to replace a calibration of something else.

    Args:
        file: path where `keep` will save the calibration; it need not exist.
        key: key that `keep` will store.

    Raises:
        UserError: the file exists and belongs to other images, another model or other options.

    """
    if os.path.lexists(file) and read_object(Path(file)).get("key") != key:
        raise UserError(f"{file}: exists, of another model, source or options: {REMEDY}")


def keep(
    calibration: Calibration, embedder: Embedder, file: str | None, *, key: str, overwrite: bool
) -> tuple[Path, str]:
    """Save a calibration in `file`, or else in the model.

    Args:
        calibration: the calibration to save.
        embedder: the model.
        file: path of the file; None saves in the model.
        key: key of everything that the magnitudes depend on; it is stored in the file.
        overwrite: replace another calibration in `file`.

    Returns:
        The path written, and the name of the calibration that was replaced, or "".

    Raises:
        UserError: `file` holds another calibration, or cannot be written.

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
            raise UserError(f"{file}: exists and holds another calibration: {REMEDY}")
    write_output(path, text)
    return path, ""


def _named(calibration: Calibration) -> str:
    return f"{calibration.set_name or 'a set without name'} ({calibration.num_images} images)"


def _content(file: str) -> Any:
    try:
        return read_json(file, "file")
    except UserError as error:
        raise UserError(f"--calibration {error}") from error
