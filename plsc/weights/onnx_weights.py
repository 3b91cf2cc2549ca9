"""Weights of an ONNX graph for one of our backbones, and the proof that they are."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import paddle
from paddle import nn

from plsc.data.transforms.align import FACE_SHAPE
from plsc.errors import UserError, first_line
from plsc.export.probes import probe_images
from plsc.files.onnx_graph import Graph, read_graph
from plsc.files.onnx_operations import Operation
from plsc.nn.evaluation_mode import evaluating
from plsc.weights.onnx_layers import Match, Step, match_steps, some, steps_of
from plsc.weights.weights import Weights, epsilon_of

NUM_PROBES = 2
# Another engine's rounding, also that of half precision; a layer in another's place costs far more.
MIN_COSINE, MAX_RELATIVE_DIFFERENCE = 0.9999, 0.02
USUAL = {"color_order": "RGB", "mean": "127.5", "std": "127.5"}  # what plsc's exports say of pixels


def onnx_weights(path: str, backbone: nn.Layer) -> Weights:
    """Return the backbone's weights in an ONNX file.

    A BatchNorm that the exporter multiplied into the layer before becomes one that only shifts:
    the same embeddings in evaluation mode.

    Raises:
        UserError: the file is damaged, or its operations are not those of the backbone.

    """
    graph = read_graph(path)
    steps = steps_of(backbone)
    match = match_steps(steps, graph.operations, path)
    arrays: dict[str, np.ndarray] = {}
    for index in range(len(steps)):
        arrays |= _arrays_of(steps, index, match, path)
    free, notes = _without_layer(backbone, arrays, match, path)
    folded = tuple(steps[index].name for index in match.folded_norms)
    if folded:
        notes.append(
            f"{len(folded)} BatchNorms come multiplied into the layers before them "
            f"({some(folded)}): embeddings are the same, their statistics are not in the file"
        )
    return Weights(
        path,
        arrays | free,
        notes=(*notes, *_notes_on_pixels(graph)),
        folded_norms=folded,
        verify=partial(_verify, path, graph),
    )


def _arrays_of(steps: Sequence[Step], index: int, match: Match, path: str) -> dict[str, np.ndarray]:
    """Return the state-dict entries of one step."""
    step = steps[index]
    if index in match.folded_norms:
        before = match.folded_norms[index]
        return _norm(step, {"weight": np.ones(step.shape, np.float32), **_only_bias(before)}, 0.0)
    operation = match.taken[index]
    weight, bias = operation.arrays["weight"], operation.arrays.get("bias")
    if step.kind == "prelu":
        return {f"{step.name}._weight": weight}
    if step.kind == "norm":
        arrays = _norm(step, operation.arrays, operation.epsilon)
        arrays[f"{step.name}._mean"] -= _bias_before(steps, step, match)
        return arrays
    following = [number for number, other in enumerate(steps) if other.input == index]
    norms = [number for number in following if steps[number].kind == "norm"]
    if step.layer.bias is None:
        if bias is not None and not norms:
            raise UserError(
                f"{path} does not fit this Model: {operation} has a bias, {step.name} none"
            )
        return {f"{step.name}.weight": weight.reshape(step.shape)}
    if bias is None or any(number in match.folded_norms for number in norms):
        bias = np.zeros(step.layer.bias.shape, np.float32)
    return {f"{step.name}.weight": weight.reshape(step.shape), f"{step.name}.bias": bias}


def _bias_before(steps: Sequence[Step], step: Step, match: Match) -> np.ndarray:
    """Return the bias of the layer before in their network, where that layer of ours has none."""
    before = None if step.input is None else steps[step.input]
    if before is None or before.kind not in ("conv", "linear") or before.layer.bias is not None:
        return np.zeros(1, np.float32)
    return match.taken[step.input or 0].arrays.get("bias", np.zeros(1, np.float32))


def _only_bias(operation: Operation) -> dict[str, np.ndarray]:
    return {name: array for name, array in operation.arrays.items() if name == "bias"}


def _norm(step: Step, theirs: dict[str, np.ndarray], epsilon: float) -> dict[str, np.ndarray]:
    """Return a BatchNorm like theirs, with our epsilon; a bare scale has no statistics."""
    nothing = np.zeros(step.shape, np.float32)
    if "variance" not in theirs:
        epsilon = 0.0
    variance = theirs.get("variance", nothing + 1) + np.float32(epsilon - epsilon_of(step.layer))
    return {
        f"{step.name}.weight": theirs["weight"].ravel(),
        f"{step.name}.bias": theirs.get("bias", nothing),
        f"{step.name}._mean": theirs.get("mean", nothing).copy(),
        f"{step.name}._variance": np.maximum(variance, 0),
    }


def _without_layer(
    backbone: nn.Layer, arrays: dict[str, np.ndarray], match: Match, path: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return parameters that no step holds: learned summands, and what evaluation does not use.

    The latter stay as they are: were one of them used after all, the proof would fail.
    """
    left = list(match.left)
    found: dict[str, np.ndarray] = {}
    unused = []
    for name, tensor in backbone.state_dict().items():
        if name in arrays:
            continue
        fitting = [
            item
            for item in left
            if item.kind == "add" and item.arrays["weight"].size == tensor.size
        ]
        if fitting:
            left.remove(fitting[0])
            found[name] = fitting[0].arrays["weight"].reshape(tensor.shape)
        else:
            unused.append(name)
            found[name] = tensor.numpy()
    if left:
        raise UserError(
            f"{path} does not fit this Model: {len(left)} operations of the graph are left over: "
            f"{some([str(item) for item in left])}"
        )
    return found, [f"not in the graph and left as they begin: {some(unused)}"] if unused else []


def _notes_on_pixels(graph: Graph) -> list[str]:
    """Return what the network takes, where that is not the usual."""
    if graph.prepares:
        means, stds = 0.0 - graph.shift / graph.scale, 1 / graph.scale
        if np.allclose([*means, *stds], 127.5) and not graph.swaps:
            return []
        order = "in BGR order " if graph.swaps else ""
        return [
            f"its graph prepares pixels itself, {order}as (pixel - {_text(means)}) / "
            f"{_text(stds)}: transform_ops must do the same"
        ]
    said = {key: graph.metadata.get(key, usual) for key, usual in USUAL.items()}
    if said == USUAL:
        return []
    shown = ", ".join(f"{key} {value}" for key, value in said.items())
    return [f"it was trained on pixels with {shown}: transform_ops must say the same"]


def _text(values: np.ndarray) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def _verify(path: str, graph: Graph, backbone: nn.Layer) -> str:
    """Compare the backbone's embeddings with those of the file; return what was found."""
    run = _session(path, backbone.num_features)
    images = probe_images(NUM_PROBES, FACE_SHAPE)
    given = images
    if graph.prepares:
        given = np.rint(images * 127.5 + 127.5).astype(np.float32)
        pixels = given[:, ::-1] if graph.swaps else given
        scale, shift = (values.reshape(1, -1, 1, 1) for values in (graph.scale, graph.shift))
        images = (pixels * scale + shift).astype(np.float32)
    with evaluating(backbone), paddle.no_grad():
        ours = backbone(paddle.to_tensor(images)).numpy().astype(np.float64)
    theirs = np.concatenate([run(image[None]) for image in given]).astype(np.float64)
    norms, own_norms = (np.linalg.norm(rows, axis=1, keepdims=True) for rows in (theirs, ours))
    cosine = float((ours * theirs / np.maximum(norms * own_norms, 1e-30)).sum(axis=1).min())
    normalised = np.allclose(norms, 1, atol=1e-3)
    difference = 0.0 if normalised else float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if not (cosine >= MIN_COSINE and difference <= MAX_RELATIVE_DIFFERENCE):  # also where NaN
        raise UserError(
            f"{path}: its operations fit this Model by kind and shape, but its embeddings do not: "
            f"cosine {cosine:.5f}, largest difference {difference:.2g} of the largest value"
        )
    return f"the backbone gives the embeddings that the ONNX file gives (cosine {cosine:.7f})"


def _session(path: str, num_features: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function image [1, 3, 112, 112] -> embedding [1, num_features] for any file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes are private and have no common base
        raise UserError(f"{path}: cannot be run: {first_line(error)}") from None
    (image, *_) = session.get_inputs()
    batch = image.shape[0] if isinstance(image.shape[0], int) else 1
    kind = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}.get(image.type, np.float32)

    def run(given: np.ndarray) -> np.ndarray:
        given = np.repeat(given, batch, axis=0).astype(kind)
        if image.shape[-1] == 3:
            given = given.transpose(0, 2, 3, 1)
        try:
            outputs: list[Any] = session.run(None, {image.name: given})
        except Exception as error:  # as above
            raise UserError(f"{path}: does not run: {first_line(error)}") from None
        for output in outputs:
            if np.shape(output) == (batch, num_features):
                return np.asarray(output, np.float32)[:1]
        shapes = ", ".join(str(list(np.shape(output))) for output in outputs)
        raise UserError(f"{path}: gives {shapes}, not [{batch}, {num_features}]")

    return run
