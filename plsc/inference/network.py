"""A network as it lies in a file: what it takes, what the file says of it, and how it runs."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError
from plsc.files.mapped_file import regular

Floats = NDArray[np.float32]
ModelKind = Literal["onnx", "checkpoint", "paddle", "torch"]
Measurement = Literal["thresholds", "quality"]  # that plsc-eval and plsc-quality add to a model
MEASURED = ("thresholds", "quality")
METADATA = "as the model's metadata says"
ASSUMED = ", assumed"  # in a note on what no metadata says
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class InputSpec:
    """The images that a network takes.

    Attributes:
        layout: NCHW or NHWC.
        dtype: float32, float16, float64; uint8 where pixels go in as they are.
        batch: the only batch size that it takes; None for any.
        size: width and height that it takes; None where it does not say.

    """

    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float32))
    batch: int | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Network:
    """A network ready to run.

    Attributes:
        path: as the user named it, for messages.
        kind: what lies there.
        run: images as `input` says -> embeddings float32 [b, d].
        input: what it takes.
        digest: of its files, sha256 in hex.
        metadata: what plsc's export or training wrote about it, or what its kind is known for; of
            others' files only what plsc measured with them: MEASURED, each as JSON.
        takes_pixels: why pixels from 0 to 255 go in as they are; "" if nothing says so.
        pixel_divisor: what those pixels are divided by: 255 where the graph takes 0 to 1.
        said_by: why the metadata is taken, for notes.
        notes: what else is to be said of it, one line each.

    """

    path: str
    kind: ModelKind
    run: Callable[[NDArray[Any]], Floats]
    input: InputSpec
    digest: str
    metadata: Mapping[str, str]
    takes_pixels: str = ""
    pixel_divisor: float = 1.0
    said_by: str = METADATA
    notes: tuple[str, ...] = ()


def digest_of(files: Iterable[Path], *, also: str = "") -> str:
    """Return the sha256 in hex of the files' contents, one after the other, and of `also`.

    Raises:
        UserError: a file cannot be read.

    """
    digest = hashlib.sha256(also.encode())
    for path in files:
        try:
            with open(path, "rb", opener=regular) as file:
                digest.update(str(path.stat().st_size).encode() + b"\0")
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()
