"""Backbone -> ONNX or Paddle inference model, then proof that the file gives the same embeddings.

Both formats take one float32 input `data` [N, 3, 112, 112] (RGB, (pixel - 127.5) / 127.5) and give
one output [N, d] for any N; ONNX calls it `embedding`, Paddle's format names it itself. An ONNX
file may also take uint8 images and give embeddings of length 1, and store weights as float16.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

from plsc import __version__
from plsc.config import yaml_tree
from plsc.errors import UserError
from plsc.export import onnx_forms
from plsc.export.onnx_forms import SHORTEST, PixelInput, Preprocessing
from plsc.export.report import (
    MAX_HALF_DIFFERENCE,
    MAX_RELATIVE_DIFFERENCE,
    BatchCheck,
    ExportReport,
)
from plsc.files import onnx_file
from plsc.files.atomic import replace
from plsc.files.onnx_file import INPUT, Floats, Images

IMAGE_SHAPE = (3, 112, 112)
CHECKED_BATCHES = (1, 5, 64)
NUM_PROBES = 5  # different images; larger batches repeat them
TIMED_RUNS, MOST_SECONDS = 20, 2.0


def export_onnx(
    backbone: nn.Layer,
    path: Path,
    *,
    opset: int = 17,
    metadata: Mapping[str, str] | None = None,
    preprocessing: Preprocessing = "none",
    fp16: bool = False,
) -> ExportReport:
    """Write `backbone` in evaluation mode to the ONNX file at `path`.

    Args:
        backbone: images [b, 3, 112, 112] -> features [b, num_features]; left as it is.
        path: the file; replaced only by one that was found equal.
        opset: ONNX operator set.
        metadata: entries for the file beside the standing ones (colour order, mean, std, sizes).
        preprocessing: nhwc or nchw for a file that takes uint8 RGB images, brings them to the
            colour order, mean and std of the metadata, and gives embeddings of length 1.
        fp16: store weights as float16; input, output and arithmetic stay float32.

    Raises:
        UserError: onnx, onnxruntime or paddle2onnx is not installed; the backbone cannot be
            converted; a weight is beyond float16; the file's embeddings differ; the file cannot
            be written.

    """
    onnx_file.require_installed()
    described, form = _described(backbone, metadata), None
    if preprocessing != "none":
        form = PixelInput.of(preprocessing, described)
        described |= form.metadata()
    with _beside(path) as folder, evaluating(backbone):
        save_program(backbone, folder / "model")
        written = folder / "model.onnx"
        onnx_file.convert(folder / "model", written, opset=opset)
        onnx_file.finish(written, described)
        if form is not None:
            onnx_forms.take_pixels(written, form)
        if fp16:
            onnx_forms.halve_weights(written)
        run = onnx_file.run(written)
        what = f"{path} at opset {opset}{' with float16 weights' if fp16 else ''}"
        checks = compare(backbone, run, what, form=form, fp16=fp16)
        num_bytes, latency = written.stat().st_size, _latency(run, form)
        replace(written, path)
    return ExportReport(
        path, num_bytes, opset, backbone.num_features, checks, latency, preprocessing, fp16
    )


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
        save_program(backbone, folder / "model")
        # No second .json: Paddle takes the first whose name begins like the program's.
        described = yaml_tree.dump(_described(backbone, metadata))
        (folder / "metadata").write_text(described, encoding="utf-8")
        run = run_paddle(folder / "model")
        checks, latency = compare(backbone, run, str(program)), _latency(run, None)
        num_bytes = sum((folder / f"model{end}").stat().st_size for end in (".json", ".pdiparams"))
        # The program goes away first and comes back last: killed in between, nothing is left
        # that loads, rather than a program with another model's parameters.
        program.unlink(missing_ok=True)
        replace(folder / "metadata", notes)
        replace(folder / "model.pdiparams", parameters)
        replace(folder / "model.json", program)
    return ExportReport(program, num_bytes, None, backbone.num_features, checks, latency)


def compare(
    backbone: nn.Layer,
    run: Callable[[Images], Floats],
    what: str,
    *,
    form: PixelInput | None = None,
    fp16: bool = False,
    batches: Sequence[int] = CHECKED_BATCHES,
) -> tuple[BatchCheck, ...]:
    """Hold `run` (images -> embeddings) against `backbone` on batches of 1, 5 and 64 images.

    With `form`, `run` takes uint8 images in that form and gives embeddings of length 1.

    The backbone itself runs on five images at most: in evaluation mode no row depends on others.

    Raises:
        UserError: they differ by more than rounding, or the backbone's own are not finite.

    """
    checks = []
    max_relative = MAX_HALF_DIFFERENCE if fp16 else MAX_RELATIVE_DIFFERENCE
    for batch in batches:
        probes, prepared = _probes(min(batch, NUM_PROBES), form)
        with paddle.no_grad():
            expected = backbone(paddle.to_tensor(prepared)).numpy().astype(np.float64)
        if not np.isfinite(expected).all():
            raise UserError(f"{what}: the weights give embeddings with NaN or infinity")
        if form is not None:
            expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), SHORTEST)
        rows = np.arange(batch) % NUM_PROBES
        expected, found = expected[rows], run(probes[rows]).astype(np.float64)
        if found.shape != expected.shape:
            raise UserError(f"{what} gives {list(found.shape)} instead of {list(expected.shape)}")
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        cosines = (found * expected).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
        difference, largest = np.abs(found - expected).max(), np.abs(expected).max()
        apart = float(cosines.min()), float(difference), float(largest)
        check = BatchCheck(batch, *apart, max_relative)
        if not check.equal:  # also where the file gives NaN
            raise UserError(f"{what} differs from the backbone, nothing was written; {check}")
        checks.append(check)
    return tuple(checks)


def probe_images(batch: int) -> Floats:
    """Deterministic normalised images [batch, 3, 112, 112], from coarse patches to fine noise."""
    return np.asarray((probe_pixels(batch) - 127.5) / 127.5, np.float32)


def probe_pixels(batch: int) -> NDArray[np.uint8]:
    """The same images, uint8."""
    random, side = np.random.default_rng(0), IMAGE_SHAPE[1]
    images = []
    for index in range(batch):
        cells = (112, 4, 14, 2, 28)[index % 5]
        patches = random.integers(0, 256, (3, cells, cells))
        images.append(np.kron(patches, np.ones((1, side // cells, side // cells))))
    return np.stack(images).astype(np.uint8)


def _probes(batch: int, form: PixelInput | None) -> tuple[Images, Floats]:
    """The same images for a file of that form and for the backbone."""
    if form is None:
        images = probe_images(batch)
        return images, images
    pixels = probe_pixels(batch)
    return form.arranged(pixels), form.prepared(pixels)


def _latency(run: Callable[[Images], Floats], form: PixelInput | None) -> float:
    """Seconds for one image: the median of some runs."""
    seconds: list[float] = []
    (image, _), began = _probes(1, form), time.perf_counter()
    while len(seconds) < TIMED_RUNS and time.perf_counter() - began < MOST_SECONDS:
        start = time.perf_counter()
        run(image)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def run_paddle(stem: Path) -> Callable[[Images], Floats]:
    """The Paddle inference model at `<stem>.json` as a function of images."""
    layer = paddle.jit.load(str(stem))
    layer.eval()

    def run(images: Images) -> Floats:
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


def save_program(backbone: nn.Layer, stem: Path) -> None:
    """Write `backbone` in its present mode to `<stem>.json` and `<stem>.pdiparams`."""
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
