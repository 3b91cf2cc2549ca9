"""One ONNX file: made from a Paddle program, given its names and metadata, and run."""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from plsc import __version__
from plsc.errors import UserError, first_line
from plsc.files import onnx_edit
from plsc.files.mapped_file import regular

Arrays = Mapping[str, NDArray[Any]]
Run = Callable[[Arrays], dict[str, NDArray[Any]]]

BLOCK_BYTES = 1 << 20
BATCH = "N"  # what files call the axis of the samples
MODULES = ("onnx", "onnxruntime", "paddle2onnx")


def is_onnx_file(path: str | Path) -> bool:
    """Tell whether the file begins like one of ONNX: with the format's version, then text."""
    with open(path, "rb", opener=regular) as file:
        start = file.read(4)
    return len(start) == 4 and start[0] == 0x08 and 3 <= start[1] <= 20 and start[2] in b"\x12\x3a"


def require_installed() -> None:
    """Raise a UserError with the install command if a module that ONNX needs is missing."""
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX export needs {', '.join(missing)}: pip install {' '.join(missing)}")


def convert(stem: Path, target: Path, *, opset: int, network: str = "network") -> None:
    """Make `target` of the program `<stem>.json`, by paddle2onnx in a process of its own.

    An operator that it does not know ends the process by abort(). Its default optimiser installs
    packages from the internet, so no optimiser is used. Messages call the program `network`.
    """
    folder = stem.parent.resolve()  # also where it runs: no module of the user's folder gets in
    command = [sys.executable, "-m", "paddle2onnx.command", f"--model_dir={folder}"]
    command += [f"--model_filename={stem.name}.json", f"--params_filename={stem.name}.pdiparams"]
    command += [f"--save_file={target.resolve()}", f"--opset_version={opset}"]
    command += ["--enable_auto_update_opset=False", "--optimize_tool=None"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode or not target.exists():
        _require_room(stem.with_name(f"{stem.name}.pdiparams"))
        words = ("error", "not support", "unsupported", "failed")
        lines = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines()]
        said = [line for line in lines if any(word in line.lower() for word in words)]
        silent = (
            f"it ended with exit status {done.returncode} and gave no reason: report the "
            f"{network} to the project Paddle2ONNX"
        )
        raise UserError(
            f"paddle2onnx cannot convert this {network}; "
            f"{f'it said: {said[0]}' if said else silent}"
        )


def _require_room(weights: Path) -> None:
    """Raise the disk's own error if it has no room for another file of this one's size."""
    size = weights.stat().st_size if weights.exists() else 0  # a program need not have any
    with tempfile.TemporaryFile(dir=weights.parent) as file:
        for _ in range(size // BLOCK_BYTES + 1):
            file.write(bytes(BLOCK_BYTES))
        file.flush()


def finish(
    path: Path,
    metadata: Mapping[str, str],
    *,
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, str],
) -> None:
    """Give the file at `path` its names and metadata, and its weights as initializers.

    Args:
        path: the file as `convert` wrote it.
        metadata: what it says of itself.
        inputs: name -> sizes of its axes, the name of each that is free.
        outputs: name -> name of the first axis if it is free, in the file's order.

    """
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    names = {value.name: name for value, name in zip(graph.output, outputs, strict=True)}
    onnx_edit.rename(graph, names)
    for value in graph.output:
        value.name = names[value.name]
        others = (f"{value.name}_{axis}" for axis in range(1, len(_axes(value))))
        _name_axes(value, [outputs[value.name], *others])
    for value in graph.input:
        _name_axes(value, inputs[value.name])
    _constants_to_initializers(graph)
    onnx_edit.fix_flattening(graph)
    onnx.helper.set_model_props(model, dict(metadata))
    model.producer_name, model.producer_version = "plsc", __version__
    onnx_edit.save(model, path)


def _axes(value: Any) -> Any:
    return value.type.tensor_type.shape.dim


def _name_axes(value: Any, names: Sequence[int | str]) -> None:
    """Name the axes that are free; the converter numbers them."""
    for axis, name in zip(_axes(value), names, strict=False):
        if axis.HasField("dim_param"):
            axis.dim_param = str(name)


def _constants_to_initializers(graph: Any) -> None:
    """Make weights initializers: paddle2onnx leaves them in nodes, where tools do not look."""
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            kept.append(node)
    onnx_edit.set_nodes(graph, kept)


def share_cores(options: Any, threads: int) -> None:
    """Let a session of these `onnxruntime.SessionOptions` have so many threads, which sleep idle.

    By default they spin while they wait, at the cost of whatever else the cores have to do.
    """
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")


def run(path: Path, *, threads: int | None = None, samples: str = "samples") -> Run:
    """Return the ONNX file at `path` as a function of arrays by name, on the CPU.

    With a number of `threads` as `share_cores` says, else as ONNX Runtime does by itself. Messages
    call what a batch has rows of `samples`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        share_cores(options, threads)
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    names = [output.name for output in session.get_outputs()]

    def outputs(inputs: Arrays) -> dict[str, NDArray[Any]]:
        try:
            found = session.run(names, dict(inputs))
        except Exception as error:  # onnxruntime's own classes are private and have no common base
            said, batch = first_line(error), len(next(iter(inputs.values())))
            raise UserError(f"{path} does not run on {batch} {samples}: {said}") from error
        return dict(zip(names, found, strict=True))

    return outputs
