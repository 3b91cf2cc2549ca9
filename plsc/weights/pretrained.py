"""Weights to start from: a checkpoint of plsc, or what another system wrote."""

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from paddle import nn

from plsc.checkpoint.folder import STATE, Checkpoint
from plsc.checkpoint.sharded_files import WEIGHT, Piece
from plsc.errors import UserError
from plsc.files.mindspore_file import is_mindspore_file
from plsc.files.onnx_file import is_onnx_file
from plsc.files.torch_file import is_torch_file
from plsc.files.unpickle import load_arrays
from plsc.weights.mindspore_weights import mindspore_weights
from plsc.weights.onnx_weights import onnx_weights
from plsc.weights.torch_weights import torch_weights
from plsc.weights.weights import Weights, no_head, sharded_head, shards_of_ranks, whole_head

HEAD_KEY = "head.weight"
PDPARAMS, ONNX = ".pdparams", ".onnx"
ONNX_MODULES = ("onnx", "onnxruntime")
LISTED = 6  # names shown of a longer list


def find_weights(path: str) -> Checkpoint | str:
    """Return what lies at `path`: a checkpoint, or the file that another system wrote.

    Raises:
        UserError: none of these, or a module that reading it needs is missing.

    """
    if (Path(path) / STATE).is_file():
        return Checkpoint(Path(path))
    beside = path.removesuffix(PDPARAMS) + PDPARAMS
    if Path(beside).is_file():
        return beside
    if not Path(path).is_file():
        raise UserError(
            f"Global.pretrained_model {path!r}: neither a checkpoint folder (it would hold "
            f"{STATE}), nor PLSC weights ({beside} does not exist), nor a .pth or .onnx file"
        )
    if is_onnx(path):
        missing = [name for name in ONNX_MODULES if importlib.util.find_spec(name) is None]
        if missing:
            raise UserError(f"{path} needs {', '.join(missing)}: pip install {' '.join(missing)}")
    elif not is_torch_file(path) and not is_mindspore_file(path):
        raise UserError(
            f"Global.pretrained_model {path!r}: neither PLSC's {PDPARAMS}, nor an {ONNX} file, nor "
            "one of torch.save"
        )
    return path


def load_weights(path: str, backbone: nn.Layer) -> Weights:
    """Read the weights at `path` in the names of `backbone`, which stays as it is.

    Args:
        path: a checkpoint folder; a prefix or file of PLSC's `.pdparams`; a state dict of
            arcface_torch, MagFace or a detector as torch.save wrote it; a `.ckpt` of MindSpore; an
            ONNX file of a backbone.
        backbone: the network that they are for.

    Raises:
        UserError: nothing is there, or it is not what it should be.

    """
    found = find_weights(path)
    if isinstance(found, str):
        if found.endswith(PDPARAMS):
            return _load_pdparams(found.removesuffix(PDPARAMS))
        if is_onnx(found):
            return onnx_weights(found, backbone)
        return (torch_weights if is_torch_file(found) else mindspore_weights)(found, backbone)
    return Weights(path, found.network(), partial(_saved_head, found))


def is_onnx(path: str) -> bool:
    """Tell whether the file is one of ONNX, by its name or its first bytes."""
    return path.endswith(ONNX) or is_onnx_file(path)


def _saved_head(saved: Checkpoint, start: int, stop: int) -> tuple[int, Iterator[Piece]]:
    head = saved.rows("head", "num_classes")
    if head.kind(WEIGHT) is None:
        raise UserError(f"{saved.path}: its head has no class centres")
    stop = min(stop, head.num_rows)
    return head.num_rows, head.pieces(WEIGHT, start, stop, dtype="float32")


def take_weights(path: str, backbone: nn.Layer) -> Weights:
    """Load the weights at `path` into `backbone`, and prove them where the source can.

    Returns:
        what was taken, with all that is to be said about it in `notes`.

    Raises:
        UserError: as for `load_weights` and `set_backbone`, or the backbone's embeddings are not
            those of the source.

    """
    weights = load_weights(path, backbone)
    set_backbone(backbone, weights.backbone, source=path)
    if weights.verify is None:
        return weights
    return replace(weights, notes=(*weights.notes, weights.verify(backbone)))


def _load_pdparams(prefix: str) -> Weights:
    """Read PLSC's files: the backbone in one, class centres with it or in one file per rank."""
    file = Path(prefix + PDPARAMS)
    arrays = _state_dict(file)
    shards = shards_of_ranks(
        file.parent, re.compile(re.escape(Path(prefix).name) + r"_rank(\d+)\.pdparams"), prefix
    )
    if HEAD_KEY in arrays:
        single = _centres_in(arrays, file)
        del arrays[HEAD_KEY]
        return Weights(prefix, arrays, whole_head(single))
    return Weights(prefix, arrays, sharded_head(shards, _centres) if shards else no_head)


def _centres(path: Path) -> np.ndarray:
    return _centres_in(_state_dict(path), path)


def _centres_in(arrays: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    rows = arrays.get(HEAD_KEY)
    if rows is None or rows.ndim != 2:
        raise UserError(f"{path} holds no class centres ({HEAD_KEY})")
    return rows


def _state_dict(path: Path) -> dict[str, np.ndarray]:
    content = load_arrays(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a state dict")
    arrays = {}
    for name, value in content.items():
        # paddle.save writes (parameter name, array) or the array alone.
        value = value[1] if isinstance(value, tuple) and len(value) == 2 else value
        if isinstance(value, np.ndarray):
            arrays[str(name)] = value
    return arrays


def set_backbone(backbone: nn.Layer, weights: Mapping[str, np.ndarray], *, source: str) -> None:
    """Load a state dict; all keys and shapes must agree.

    Raises:
        UserError: the keys that are missing, unknown or of another shape.

    """
    own = backbone.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unknown = sorted(weights.keys() - own.keys())
    shapes = [
        f"{name} {list(weights[name].shape)} instead of {list(own[name].shape)}"
        for name in sorted(own.keys() & weights.keys())
        if list(weights[name].shape) != own[name].shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:LISTED])}{', …' if len(names) > LISTED else ''}"
        for what, names in [
            ("missing", missing),
            ("unknown", unknown),
            ("of another shape", shapes),
        ]
        if names
    ]
    if problems:
        raise UserError(f"{source} does not fit this Model: {'; '.join(problems)}")
    for name, tensor in own.items():
        tensor.set_value(weights[name].astype(tensor.numpy().dtype))
