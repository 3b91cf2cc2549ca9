"""Network -> ONNX or Paddle inference model, then proof that the file gives the same outputs.

What goes in, what comes out and how near the file must come is said by an `ExportSpec`.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paddle import nn

from plsc.config import yaml_tree
from plsc.errors import UserError
from plsc.export.float16_weights import halve_weights
from plsc.export.program import forward, named, run_paddle, save_program
from plsc.export.report import BatchCheck, ExportReport
from plsc.export.spec import ExportSpec
from plsc.files import onnx_file
from plsc.files.atomic import replace
from plsc.files.onnx_file import Arrays, Run
from plsc.nn.evaluation_mode import evaluating

TIMED_RUNS, MOST_SECONDS = 20, 2.0


def export_onnx(
    network: nn.Layer, path: Path, spec: ExportSpec, *, opset: int = 17, fp16: bool = False
) -> ExportReport:
    """Write `network` in evaluation mode to the ONNX file at `path`.

    Args:
        network: left as it is.
        path: the file; replaced only by one that was found equal.
        spec: what goes in and comes out.
        opset: ONNX operator set.
        fp16: store weights as float16; input, output and arithmetic stay float32.

    Raises:
        UserError: onnx, onnxruntime or paddle2onnx is not installed; the network cannot be
            converted; a weight is beyond float16; the file's outputs differ; the file cannot be
            written.

    """
    onnx_file.require_installed()
    spec = spec.as_written()
    with _beside(path) as folder, evaluating(network):
        written = folder / "model.onnx"
        write_onnx(network, written, spec, opset=opset)
        if spec.transform is not None:
            spec.transform.apply(written)
        if fp16:
            halve_weights(written)
        run = onnx_file.run(written, samples=spec.words.samples)
        what = f"{path} at opset {opset}{' with float16 weights' if fp16 else ''}"
        checks = compare(network, run, what, spec, fp16=fp16)
        num_bytes, latency = written.stat().st_size, _latency(run, spec)
        replace(written, path)
    return ExportReport(path, num_bytes, opset, spec.described(), checks, latency, fp16)


def export_paddle(network: nn.Layer, stem: Path, spec: ExportSpec) -> ExportReport:
    """Write `<stem>.json`, `<stem>.pdiparams` (Paddle inference) and `<stem>.yml` (metadata).

    Arguments and errors as for `export_onnx`; nothing but Paddle is needed.
    """
    spec = spec.as_written()
    assert spec.transform is None, "a transform changes ONNX files"
    program, parameters, notes = (
        stem.with_name(stem.name + suffix) for suffix in (".json", ".pdiparams", ".yml")
    )
    with _beside(program) as folder, evaluating(network):
        save_program(network, folder / "model", spec)
        # No second .json: Paddle takes the first whose name begins like the program's.
        described = yaml_tree.dump(dict(spec.metadata))
        (folder / "metadata").write_text(described, encoding="utf-8")
        run = run_paddle(folder / "model", spec)
        checks = compare(network, run, str(program), spec)
        latency = _latency(run, spec)
        num_bytes = sum((folder / f"model{end}").stat().st_size for end in (".json", ".pdiparams"))
        # The program goes away first and comes back last: killed in between, nothing is left
        # that loads, rather than a program with another model's parameters.
        program.unlink(missing_ok=True)
        replace(folder / "metadata", notes)
        replace(folder / "model.pdiparams", parameters)
        replace(folder / "model.json", program)
    return ExportReport(program, num_bytes, None, spec.described(), checks, latency)


def write_onnx(network: nn.Layer, path: Path, spec: ExportSpec, *, opset: int) -> None:
    """Write `network` in its present mode to `path`, with Paddle's program of it beside.

    Raises:
        UserError: the network cannot be converted.

    """
    stem = path.with_suffix("")
    save_program(network, stem, spec)
    onnx_file.convert(stem, path, opset=opset, network=spec.words.network + spec.words.remedy)
    onnx_file.finish(path, spec.metadata, inputs=spec.axes(), outputs=spec.first_axes())


def compare(
    network: nn.Layer,
    run: Run,
    what: str,
    spec: ExportSpec,
    *,
    fp16: bool = False,
    batches: Sequence[int] | None = None,
) -> tuple[BatchCheck, ...]:
    """Compare `run`, a finished file, with `network` on the batches that `spec` or `batches` says.

    Raises:
        UserError: they differ by more than rounding, or the network's own outputs are not finite.

    """
    checks, words = [], spec.words
    for batch in batches or spec.batches:
        num_probes = min(batch, spec.num_probes or batch)
        expected: Arrays = _run_network(network, spec, num_probes)
        if not all(np.isfinite(array).all() for array in expected.values()):
            raise UserError(f"{what}: the weights give {words.outputs} with NaN or infinity")
        if spec.transform is not None:
            expected = spec.transform.outputs(expected)
        given = spec.given(num_probes)
        if num_probes < batch:
            samples = np.arange(batch) % num_probes
            expected = {name: array[samples] for name, array in expected.items()}
            # An input without a batch is the same for all samples.
            given = {
                name: array[samples] if spec.inputs[name].shape[:1] == (None,) else array
                for name, array in given.items()
            }
        found = run(given)
        _require_shapes(found, expected, what, spec.rows)
        agreement = spec.comparison.compare(expected, found, rows=spec.rows, fp16=fp16)
        check = BatchCheck(batch, agreement)
        if not agreement.equal:  # also where the file gives NaN
            raise UserError(
                f"{what} differs from the {words.network}, nothing was written; {check}"
            )
        checks.append(check)
    return tuple(checks)


def _run_network(network: nn.Layer, spec: ExportSpec, count: int) -> dict[str, NDArray[Any]]:
    """Return the network's outputs for so many probes; those of floats as float64."""
    outputs = named(forward(network, spec, spec.probes(count)), spec.outputs)
    arrays = {name: tensor.numpy() for name, tensor in outputs.items()}
    return {
        name: array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array
        for name, array in arrays.items()
    }


def _require_shapes(found: Arrays, expected: Arrays, what: str, rows: Mapping[str, str]) -> None:
    """Refuse other shapes than the network's; only the number of `rows` is free."""
    for name, array in expected.items():
        free = int(name in rows)
        if found[name].ndim != array.ndim or found[name].shape[free:] != array.shape[free:]:
            which = f" for {name}" if len(expected) > 1 else ""
            shape = list(found[name].shape)
            raise UserError(f"{what} gives {shape} instead of {list(array.shape)}{which}")


def _latency(run: Run, spec: ExportSpec) -> float:
    """Return the seconds for one sample, or the fixed batch: the median of some runs."""
    count = spec.fixed_batch or 1
    sample = spec.given(count)
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < TIMED_RUNS and time.perf_counter() - began < MOST_SECONDS:
        start = time.perf_counter()
        run(sample)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield a folder on the disk of `path`, gone afterwards; a failing disk is a UserError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            yield Path(folder)
    except OSError as error:
        raise UserError(f"{path}: cannot write this file: {error.strerror or error}") from error
