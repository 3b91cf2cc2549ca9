"""Weights to start from: a checkpoint of plsc, or the `.pdparams` files of PLSC."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from paddle import nn

from plsc.engine.checkpoint import STATE, Checkpoint
from plsc.errors import UserError
from plsc.unpickle import load_arrays

HEAD_KEY = "head.weight"
LISTED = 6  # names shown of a longer list


@dataclass(frozen=True)
class Weights:
    """Weights found at a path.

    Attributes:
        source: the path, for messages.
        backbone: state dict.
        head: (start, stop) -> how many classes the source has, and the centres of those from
            start to stop that it has, [≤ stop − start, d]; 0 and None where it has no head. Reads
            when it is called: evaluation and export never do, and heads may be many gigabytes.

    """

    source: str
    backbone: dict[str, np.ndarray]
    head: Callable[[int, int], tuple[int, np.ndarray | None]]


def find_weights(path: str) -> Checkpoint | str:
    """What lies at `path`: a checkpoint, or the prefix of PLSC's `.pdparams` files.

    Raises:
        UserError: neither.

    """
    if (Path(path) / STATE).is_file():
        return Checkpoint(Path(path))
    prefix = path.removesuffix(".pdparams")
    if Path(prefix + ".pdparams").is_file():
        return prefix
    raise UserError(
        f"Global.pretrained_model {path!r}: neither a checkpoint folder (it would hold {STATE}) "
        f"nor PLSC weights ({prefix}.pdparams does not exist)"
    )


def load_weights(path: str) -> Weights:
    """Weights at `path`: a checkpoint folder, or a prefix or file of PLSC's `.pdparams`.

    Raises:
        UserError: nothing is there, or it is not what it should be.

    """
    found = find_weights(path)
    if isinstance(found, str):
        return _load_pdparams(found)
    num_classes = int(found.state["num_classes"])

    def head(start: int, stop: int) -> tuple[int, np.ndarray | None]:
        return num_classes, found.head("weight", start, min(stop, num_classes))

    return Weights(path, found.backbone(), head)


def _load_pdparams(prefix: str) -> Weights:
    """PLSC's files: the backbone in one, class centres in one per rank or with the backbone."""
    arrays = _state_dict(Path(prefix + ".pdparams"))
    pattern = re.compile(re.escape(Path(prefix).name) + r"_rank(\d+)\.pdparams$")
    found = {
        int(match[1]): path
        for path in Path(prefix).parent.iterdir()
        if (match := pattern.match(path.name))
    }
    if sorted(found) != list(range(len(found))):
        raise UserError(f"{prefix}: shards of ranks {sorted(found)} are there, not all of them")
    if HEAD_KEY in arrays:
        single = _centres_in(arrays, Path(prefix + ".pdparams"))
        del arrays[HEAD_KEY]
        return Weights(prefix, arrays, lambda start, stop: (len(single), single[start:stop]))
    if not found:
        return Weights(prefix, arrays, lambda start, stop: (0, None))

    def head(start: int, stop: int) -> tuple[int, np.ndarray | None]:
        first = 0
        parts: list[np.ndarray] = []
        for rank in range(len(found)):
            rows = _centres(found[rank])
            if parts and rows.shape[1] != parts[0].shape[1]:
                raise UserError(
                    f"{found[rank]}: its class centres have {rows.shape[1]} dimensions, those of "
                    f"the shards before it {parts[0].shape[1]}"
                )
            parts.append(rows[max(start - first, 0) : max(stop - first, 0)])
            first += len(rows)
        return first, np.concatenate(parts)

    return Weights(prefix, arrays, head)


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
