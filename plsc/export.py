"""Backbone -> ONNX or Paddle inference model, then proof that the file gives the same embeddings.

Both formats take one float32 input `data` [N, 3, 112, 112] (RGB, (pixel - 127.5) / 127.5) and give
one output [N, d] for any N; ONNX calls it `embedding`, Paddle's format names it itself.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from plsc import __version__, onnx_file, yaml_tree
from plsc.errors import UserError
from plsc.onnx_file import INPUT, Floats

IMAGE_SHAPE = (3, 112, 112)
CHECKED_BATCHES = (1, 5, 64)
NUM_PROBES = 5  # different images; larger batches repeat them
TIMED_RUNS, MOST_SECONDS = 20, 2.0
# Figures of float32 on another engine: relative differences below 1e-5 were seen. A scale or a bias
# that got lost costs orders of magnitude more.
MIN_COSINE = 0.9999
MAX_RELATIVE_DIFFERENCE = 1e-3


@dataclass(frozen=True)
class BatchCheck:
    """How far a file's embeddings are from the backbone's on one batch."""

    batch: int
    min_cosine: float
    max_difference: float
    largest_value: float

    @property
    def equal(self) -> bool:
        """Whether the difference is one of rounding."""
        close = self.max_difference <= MAX_RELATIVE_DIFFERENCE * self.largest_value
        return close and self.min_cosine >= MIN_COSINE

    def __str__(self) -> str:
        """The check in a few words."""
        return (
            f"batch {self.batch}: cosine {self.min_cosine:.7f}, largest difference "
            f"{self.max_difference:.2g} of {self.largest_value:.2g}"
        )


@dataclass(frozen=True)
class ExportReport:
    """What was written and how it was found equal to the backbone.

    Attributes:
        path: the file; of Paddle's format, the program.
        num_bytes: its size, the weights included.
        opset: ONNX operator set; None for Paddle's format.
        num_features: the embedding's size.
        checks: one per batch size.
        latency: seconds that one image takes on this machine's CPU.

    """

    path: Path
    num_bytes: int
    opset: int | None
    num_features: int
    checks: tuple[BatchCheck, ...]
    latency: float

    def __str__(self) -> str:
        """Sizes, speed and checks on one line."""
        shape = ", ".join(map(str, IMAGE_SHAPE))
        opset = f"opset {self.opset}, " if self.opset else ""
        return (
            f"{opset}input [N, {shape}], output [N, {self.num_features}], "
            f"{self.num_bytes / 1e6:.1f} MB, {self.latency * 1e3:.1f} ms at batch 1 on this CPU; "
            f"{'; '.join(map(str, self.checks))}"
        )


def export_onnx(
    backbone: nn.Layer, path: Path, *, opset: int = 17, metadata: Mapping[str, str] | None = None
) -> ExportReport:
    """Write `backbone` in evaluation mode to the ONNX file at `path`.

    Args:
        backbone: images [b, 3, 112, 112] -> features [b, num_features]; left as it is.
        path: the file; replaced only by one that was found equal.
        opset: ONNX operator set.
        metadata: entries for the file beside the standing ones (colour order, mean, std, sizes).

    Raises:
        UserError: onnx, onnxruntime or paddle2onnx is not installed; the backbone cannot be
            converted; the file's embeddings differ; the file cannot be written.

    """
    onnx_file.require_installed()
    with _beside(path) as folder, evaluating(backbone):
        _save_program(backbone, folder / "model")
        written = folder / "model.onnx"
        onnx_file.convert(folder / "model", written, opset=opset)
        onnx_file.finish(written, _described(backbone, metadata))
        run = onnx_file.run(written)
        checks = compare(backbone, run, f"{path} at opset {opset}")
        num_bytes, latency = written.stat().st_size, _latency(run)
        _publish(written, path)
    return ExportReport(path, num_bytes, opset, backbone.num_features, checks, latency)


def export_paddle(
    backbone: nn.Layer, stem: Path, *, metadata: Mapping[str, str] | None = None
) -> ExportReport:
    """Write `<stem>.json`, `<stem>.pdiparams` (Paddle inference) and `<stem>.yml` (metadata).

    Arguments and errors as for `export_onnx`; nothing but Paddle is needed.
    """
    program, parameters, notes = (
        stem.with_name(stem.name + suffix) for suffix in (".json", ".pdiparams", ".yml")
    )
    with _beside(program) as folder, evaluating(backbone):
        _save_program(backbone, folder / "model")
        # No second .json: Paddle takes the first whose name begins like the program's.
        described = yaml_tree.dump(_described(backbone, metadata))
        (folder / "metadata").write_text(described, encoding="utf-8")
        run = run_paddle(folder / "model")
        checks, latency = compare(backbone, run, str(program)), _latency(run)
        num_bytes = sum((folder / f"model{end}").stat().st_size for end in (".json", ".pdiparams"))
        # The program goes away first and comes back last: killed in between, nothing is left
        # that loads, rather than a program with another model's parameters.
        program.unlink(missing_ok=True)
        _publish(folder / "metadata", notes)
        _publish(folder / "model.pdiparams", parameters)
        _publish(folder / "model.json", program)
    return ExportReport(program, num_bytes, None, backbone.num_features, checks, latency)


def compare(
    backbone: nn.Layer, run: Callable[[Floats], Floats], what: str
) -> tuple[BatchCheck, ...]:
    """Hold `run` (images -> embeddings) against `backbone` on batches of 1, 5 and 64.

    The backbone itself runs on five images at most: in evaluation mode no row depends on others.

    Raises:
        UserError: they differ by more than rounding, or the backbone's own are not finite.

    """
    checks = []
    for batch in CHECKED_BATCHES:
        probes = probe_images(min(batch, NUM_PROBES))
        with paddle.no_grad():
            expected = backbone(paddle.to_tensor(probes)).numpy().astype(np.float64)
        if not np.isfinite(expected).all():
            raise UserError(f"{what}: the weights give embeddings with NaN or infinity")
        rows = np.arange(batch) % NUM_PROBES
        expected, found = expected[rows], run(probes[rows]).astype(np.float64)
        if found.shape != expected.shape:
            raise UserError(f"{what} gives {list(found.shape)} instead of {list(expected.shape)}")
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        cosines = (found * expected).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
        difference, largest = np.abs(found - expected).max(), np.abs(expected).max()
        check = BatchCheck(batch, float(cosines.min()), float(difference), float(largest))
        if not check.equal:  # also where the file gives NaN
            raise UserError(f"{what} differs from the backbone, nothing was written; {check}")
        checks.append(check)
    return tuple(checks)


def probe_images(batch: int) -> Floats:
    """Deterministic normalised images [batch, 3, 112, 112], from coarse patches to fine noise."""
    random, side = np.random.default_rng(0), IMAGE_SHAPE[1]
    images = []
    for index in range(batch):
        cells = (112, 4, 14, 2, 28)[index % 5]
        patches = random.integers(0, 256, (3, cells, cells))
        images.append(np.kron(patches, np.ones((1, side // cells, side // cells))))
    return ((np.stack(images) - 127.5) / 127.5).astype(np.float32)


def _latency(run: Callable[[Floats], Floats]) -> float:
    """Seconds for one image: the median of some runs."""
    seconds: list[float] = []
    image, began = probe_images(1), time.perf_counter()
    while len(seconds) < TIMED_RUNS and time.perf_counter() - began < MOST_SECONDS:
        start = time.perf_counter()
        run(image)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def run_paddle(stem: Path) -> Callable[[Floats], Floats]:
    """The Paddle inference model at `<stem>.json` as a function of images."""
    layer = paddle.jit.load(str(stem))
    layer.eval()

    def run(images: Floats) -> Floats:
        with paddle.no_grad():
            embeddings: Floats = layer(paddle.to_tensor(images)).numpy()
        return embeddings

    return run


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A folder on the same disk as `path`, gone afterwards; a failing disk is a UserError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            yield Path(folder)
    except OSError as error:
        raise UserError(f"{path}: cannot write this file: {error.strerror or error}") from error


@contextmanager
def evaluating(backbone: nn.Layer) -> Iterator[None]:
    """`backbone` in evaluation mode; each layer's own mode comes back."""
    modes = [(layer, layer.training) for layer in backbone.sublayers(include_self=True)]
    backbone.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


def _save_program(backbone: nn.Layer, stem: Path) -> None:
    images = paddle.static.InputSpec([None, *IMAGE_SHAPE], "float32", INPUT)
    paddle.jit.save(backbone, str(stem), input_spec=[images])


def _described(backbone: nn.Layer, metadata: Mapping[str, str] | None) -> dict[str, str]:
    standing = {
        "color_order": "RGB",
        "layout": "NCHW",
        "mean": "127.5",
        "std": "127.5",
        "normalisation": "(pixel - mean) / std, pixels 0 to 255",
        "input_size": f"{IMAGE_SHAPE[1]}x{IMAGE_SHAPE[2]}",
        "embedding_size": str(backbone.num_features),
        "plsc_version": __version__,
    }
    return standing | dict(metadata or {})


def _publish(written: Path, target: Path) -> None:
    with open(written, "rb") as file:
        os.fsync(file.fileno())
    os.replace(written, target)
