"""ONNX files of any origin, run by ONNX Runtime."""

import importlib.util
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plsc.errors import UserError, first_line
from plsc.files import onnx_file
from plsc.files.mapped_file import open_regular
from plsc.inference.network import ASSUMED, MEASURED, Floats, InputSpec, Network
from plsc.inference.onnx_digest import onnx_digest
from plsc.inference.onnx_front import Front, read_pixels_front
from plsc.nn import environment as runtime

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


def open_onnx(path: str, provider: str, output: str | None = None) -> Network:
    """Return the network in the file at `path`.

    Args:
        path: the `.onnx` file.
        provider: "cpu", "cuda" or ONNX Runtime's name of an execution provider.
        output: the name of the output with the embeddings, where several could be.

    Raises:
        UserError: onnxruntime or the provider is missing, the file is damaged, or its inputs and
            outputs are not those of a network that embeds images.

    """
    session = _session(path, provider)
    given, *more = session.get_inputs() or [None]
    if given is None:
        raise UserError(f"{path}: takes no input, where images should go in")
    if more:
        names = ", ".join(item.name for item in (given, *more))
        raise UserError(f"{path}: takes {1 + len(more)} inputs ({names}), not images alone")
    spec = _input_spec(path, given)
    chosen = _output(path, session.get_outputs(), output)

    def run(images: NDArray[Any]) -> Floats:
        try:
            embeddings = session.run([chosen], {given.name: images})[0]
        except Exception as error:  # onnxruntime's own classes are private and have no common base
            said = first_line(error)
            hint = "; try a batch size of 1" if len(images) > 1 and spec.batch is None else ""
            raise UserError(f"{path}: does not run on {len(images)} images{hint}: {said}") from None
        if np.shape(embeddings)[2:] == (1, 1):
            embeddings = np.reshape(embeddings, np.shape(embeddings)[:2])
        if np.ndim(embeddings) != 2 or len(embeddings) != len(images):
            shape = list(np.shape(embeddings))
            raise UserError(
                f"{path}: gives {shape} for {len(images)} images, not one embedding for each"
            )
        return np.asarray(embeddings, np.float32)

    metadata = _metadata(path, session)
    own = "plsc_version" in metadata
    front = Front("its input is uint8" if spec.dtype == np.uint8 else "")
    if not own and not front.said:
        front = read_pixels_front(path)
    return Network(
        path=path,
        kind="onnx",
        run=run,
        input=spec,
        digest=onnx_digest(Path(path)),
        metadata={name: text for name, text in metadata.items() if own or name in MEASURED},
        takes_pixels=front.said,
        pixel_divisor=front.divisor,
        notes=_layout_notes(spec, given),
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
    os.close(open_regular(path, "ONNX file"))  # onnxruntime would wait for a pipe
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


def _metadata(path: str, session: Any) -> dict[str, str]:
    try:
        return dict(session.get_modelmeta().custom_metadata_map)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: its metadata is damaged: it is not UTF-8 text") from error


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


def _layout_notes(spec: InputSpec, given: Any) -> tuple[str, ...]:
    """Say where the layout is taken from, unless the shape itself has 3 colours where they go."""
    colours = given.shape[1] if spec.layout == "NCHW" else given.shape[3]
    if colours == 3 and spec.layout == "NCHW":
        return ()
    if colours == 3:
        return ("layout: NHWC, as the shape of its input says",)
    return (f"layout: NCHW{ASSUMED}: its input is {given.shape}",)


def _output(path: str, outputs: list[Any], wanted: str | None) -> str:
    """Return the output with the embeddings: the one `wanted`, or the only one that can be it.

    An embedding is [N, d] or [N, d, 1, 1]; [N, 1] is a norm, a score or a class.
    """
    shapes = ", ".join(f"{item.name!r} {item.shape}" for item in outputs)
    if wanted is not None:
        if wanted not in [item.name for item in outputs]:
            raise UserError(f"{path}: has no output {wanted!r}, it has {shapes}")
        return wanted
    able = [item for item in outputs if _may_be_embedding(item.shape)]
    if len(outputs) == 1:
        able = outputs
    if len(able) != 1:
        raise UserError(
            f"{path}: has {len(outputs)} outputs, {shapes}: which is the embedding? Name it with "
            "--output NAME (in Python output_name)"
        )
    return str(able[0].name)


def _may_be_embedding(shape: list[Any]) -> bool:
    return bool(shape) and (len(shape) == 2 or list(shape[2:]) == [1, 1]) and shape[1] != 1
