"""One ONNX file: made from a Paddle program, given its names and metadata, and run."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plsc import __version__
from plsc.errors import UserError, first_line

Floats = NDArray[np.float32]
Images = NDArray[np.float32] | NDArray[np.uint8]

INPUT, OUTPUT, BATCH = "data", "embedding", "N"
MODULES = ("onnx", "onnxruntime", "paddle2onnx")


def require_installed() -> None:
    """Raise a UserError with the install command if a module that ONNX needs is missing."""
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX export needs {', '.join(missing)}: pip install {' '.join(missing)}")


def convert(stem: Path, target: Path, *, opset: int) -> None:
    """Make `target` of the program `<stem>.json`, by paddle2onnx in a process of its own.

    An operator that it does not know ends the process by abort(). Its default optimiser installs
    packages from the internet, so no optimiser is used.
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
        words = ("error", "not support", "unsupported", "failed")
        lines = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines()]
        said = [line for line in lines if any(word in line.lower() for word in words)]
        raise UserError(
            "paddle2onnx cannot convert this backbone (one built with data_format NHWC exports "
            f"with -o Model.data_format=NCHW); it said: {said[0] if said else done.returncode}"
        )


def finish(path: Path, metadata: Mapping[str, str]) -> None:
    """Give the file at `path` its names and metadata, and its weights as initializers."""
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    (output,) = graph.output
    renamed = {output.name: OUTPUT}
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    output.name = OUTPUT
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim[:1]:
            if dim.HasField("dim_param"):
                dim.dim_param = BATCH
    _constants_to_initializers(graph)
    onnx.helper.set_model_props(model, dict(metadata))
    model.producer_name, model.producer_version = "plsc", __version__
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def _constants_to_initializers(graph: Any) -> None:
    """Weights as initializers: paddle2onnx leaves them in nodes, where tools do not look."""
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def share_cores(options: Any, threads: int) -> None:
    """Let a session of these `onnxruntime.SessionOptions` have so many threads, which sleep idle.

    By default they spin while they wait, at the cost of whatever else the cores have to do.
    """
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")


def run(path: Path, *, threads: int | None = None) -> Callable[[Images], Floats]:
    """The ONNX file at `path` as a function of images, on the CPU.

    With a number of `threads` as `share_cores` says, else as ONNX Runtime does by itself.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        share_cores(options, threads)
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)

    def embed(images: Images) -> Floats:
        try:
            embeddings: Floats = session.run([OUTPUT], {INPUT: images})[0]
        except Exception as error:  # onnxruntime's own classes are private and have no common base
            said = first_line(error)
            raise UserError(f"{path} does not run on {len(images)} images: {said}") from error
        return embeddings

    return embed
