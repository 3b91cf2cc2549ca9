"""ONNX files of any origin, run by ONNX Runtime."""

import importlib.util
import itertools
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError, first_line
from plsc.files import onnx_file
from plsc.inference.network import MEASURED, Floats, InputSpec, Network
from plsc.inference.onnx_digest import onnx_digest
from plsc.nn import environment as runtime

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}
FRONT = 8  # nodes in which insightface looks for preprocessing
LEARNED = {"Conv", "MatMul", "Gemm", "BatchNormalization"}
SHIFTS = {"ops": {"Sub", "Add"}, "names": ("Sub", "_minus")}
SCALES = {"ops": {"Mul", "Div"}, "names": ("Mul", "_mul", "Div")}


def open_onnx(path: str, provider: str) -> Network:
    """Return the network in the file at `path`.

    Args:
        path: the `.onnx` file.
        provider: "cpu", "cuda" or ONNX Runtime's name of an execution provider.

    Raises:
        UserError: onnxruntime or the provider is missing, the file is damaged, or its inputs and
            outputs are not those of a network that embeds images.

    """
    session = _session(path, provider)
    (given, *more) = session.get_inputs()
    if more:
        names = ", ".join(item.name for item in (given, *more))
        raise UserError(f"{path}: takes {1 + len(more)} inputs ({names}), not images alone")
    spec = _input_spec(path, given)
    output = _output(path, session.get_outputs())

    def run(images: NDArray[Any]) -> Floats:
        try:
            embeddings = session.run([output], {given.name: images})[0]
        except Exception as error:  # onnxruntime's own classes are private and have no common base
            said = first_line(error)
            hint = "; try a batch size of 1" if len(images) > 1 and spec.batch is None else ""
            raise UserError(f"{path}: does not run on {len(images)} images{hint}: {said}") from None
        if np.ndim(embeddings) != 2 or len(embeddings) != len(images):
            shape = list(np.shape(embeddings))
            raise UserError(
                f"{path}: gives {shape} for {len(images)} images, not one embedding for each"
            )
        return np.asarray(embeddings, np.float32)

    metadata = dict(session.get_modelmeta().custom_metadata_map)
    own = "plsc_version" in metadata
    takes_pixels = "its input is uint8" if spec.dtype == np.uint8 else ""
    if not own and not takes_pixels:
        takes_pixels = _preprocessing_inside(path)
    return Network(
        path=path,
        kind="onnx",
        run=run,
        input=spec,
        digest=onnx_digest(Path(path)),
        metadata={name: text for name, text in metadata.items() if own or name in MEASURED},
        takes_pixels=takes_pixels,
    )


def execution_provider(provider: str) -> str:
    """Return ONNX Runtime's name of "cpu", "cuda" or of what is such a name already.

    Raises:
        UserError: unknown, or not in the onnxruntime that is installed, or that is missing.

    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise UserError(
            "an ONNX model needs onnxruntime: pip install onnxruntime (for CUDA: onnxruntime-gpu)"
        )
    import onnxruntime

    name, there = PROVIDERS.get(provider, provider), onnxruntime.get_available_providers()
    if not name.endswith("ExecutionProvider"):
        raise UserError(
            f"provider must be cpu, cuda or ONNX Runtime's name of one, got {provider!r}"
        )
    if name not in there:
        remedy = "pip install onnxruntime-gpu in its place" if provider == "cuda" else "use cpu"
        raise UserError(
            f"provider {provider}: this onnxruntime has {', '.join(there)} only: {remedy}"
        )
    return name


def _session(path: str, provider: str) -> Any:
    name = execution_provider(provider)
    if (text := path.encode(errors="backslashreplace").decode()) != path:
        raise UserError(f"{text}: onnxruntime opens no file whose name is not UTF-8: rename it")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is fatal is raised, too
    onnx_file.share_cores(options, runtime.threads(local_size=1))
    try:
        session = onnxruntime.InferenceSession(
            path, options, providers=list(dict.fromkeys([name, PROVIDERS["cpu"]]))
        )
    except Exception as error:  # as above
        raise UserError(f"{path}: cannot be loaded: {first_line(error)}") from None
    if session.get_providers()[0] != name:
        raise UserError(
            f"provider {provider}: onnxruntime could not start it and fell back to the CPU; are "
            "its libraries (CUDA, cuDNN) installed?"
        )
    return session


def _input_spec(path: str, given: Any) -> InputSpec:
    said = f"{path}: its input {given.name!r} is {given.type} {given.shape}"
    if given.type not in TYPES:
        raise UserError(f"{said}, must be float or uint8")
    dims = [dim if isinstance(dim, int) and dim > 0 else None for dim in given.shape]
    if len(dims) != 4:
        raise UserError(f"{said}, must be images [N, 3, height, width] or [N, height, width, 3]")
    layout: Literal["NCHW", "NHWC"] = "NHWC" if dims[3] == 3 and dims[1] != 3 else "NCHW"
    colours, height, width = (
        (dims[1], dims[2], dims[3]) if layout == "NCHW" else (dims[3], dims[1], dims[2])
    )
    if colours not in (3, None):
        raise UserError(f"{said}: images of 3 colours are needed")
    size = None if width is None or height is None else (width, height)
    return InputSpec(layout, np.dtype(TYPES[given.type]), dims[0], size)


def _output(path: str, outputs: list[Any]) -> str:
    """Return the output with the embeddings: the only one, or the only one that is [N, d]."""
    flat = [item for item in outputs if len(item.shape) == 2]
    if len(outputs) == 1:
        flat = outputs
    if len(flat) != 1:
        shapes = ", ".join(f"{item.name!r} {item.shape}" for item in outputs)
        raise UserError(
            f"{path}: has {len(outputs)} outputs, {shapes}: which is the embedding? Exactly one "
            "must be [N, d]"
        )
    return str(flat[0].name)


def _preprocessing_inside(path: str) -> str:
    """Say how the graph shows that it prepares pixels itself, or "".

    insightface takes a model for one that does where a Sub and a Mul are among its first nodes, by
    their names. Here their operators count, too, and only what comes before the first learned layer
    does: a LayerNorm taken apart has such nodes as well.
    """
    if importlib.util.find_spec("onnx") is None:
        raise UserError(
            f"{path}: was not made by plsc, and to see whether it prepares pixels itself needs "
            "onnx: pip install onnx"
        )
    import onnx

    nodes = onnx.load(path, load_external_data=False).graph.node
    working = (node for node in nodes if node.op_type != "Constant")
    front = list(
        itertools.takewhile(
            lambda node: node.op_type not in LEARNED, itertools.islice(working, FRONT)
        )
    )
    found = [
        next((node.op_type for node in front if _is_one(node, kinds)), None)
        for kinds in (SHIFTS, SCALES)
    ]
    return f"its graph begins with {found[0]} and {found[1]}" if all(found) else ""


def _is_one(node: Any, kinds: dict[str, Any]) -> bool:
    return node.op_type in kinds["ops"] or node.name.startswith(kinds["names"])
