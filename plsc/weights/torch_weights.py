"""State dicts of torch networks (arcface_torch, MagFace) in the names of our backbones.

Their parameters have the names of ours but for the last part: a BatchNorm's statistics are
`running_mean` and `running_var`, a PReLU's slopes `weight`, and a linear layer's matrix is the
transpose of ours. Wrappers of torch put prefixes before all names.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from plsc.data.transforms.input_pixels import InputPixels
from plsc.errors import UserError
from plsc.files.torch_file import load_torch
from plsc.files.torch_tensors import TorchTensor
from plsc.weights.weights import (
    Head,
    Weights,
    batch_norms,
    epsilon_of,
    no_head,
    sharded_head,
    shards_of_ranks,
)

RENAMED = {"_mean": "running_mean", "_variance": "running_var", "_weight": "weight"}
COUNTER = "num_batches_tracked"  # of a BatchNorm; ours keeps none
# What training scripts put their network's state dict under, arcface_torch's own first.
WRAPPERS = ("state_dict_backbone", "state_dict", "model_state_dict", "model", "backbone", "net")
HEAD = "state_dict_softmax_fc"
SHARD = re.compile(r"checkpoint_gpu_(\d+)\.pt")  # arcface_torch, one per rank
# MagFace keeps its network as `features`, with another epsilon in each BatchNorm than ours.
MAGFACE_PREFIXES = ("features.module.", "module.features.", "features.")
MAGFACE_EPSILON = 2e-5
MAGFACE_PIXELS = InputPixels("BGR", mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))


def torch_weights(path: str, backbone: nn.Layer) -> Weights:
    """Return the backbone's weights in a state dict that torch.save wrote.

    What the file has not, or has too much, stays so: setting the weights tells.

    Raises:
        UserError: the file is damaged, or holds no state dict.

    """
    content = load_torch(path)
    tensors = state_dict_in(content, path)
    names = torch_names(backbone)
    prefix = prefix_of(tensors, [theirs for theirs, _ in names.values()])
    inside = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix) and name.rpartition(".")[2] != COUNTER
    }
    arrays = {}
    for ours, (theirs, transposed) in names.items():
        if theirs in inside:
            array = inside.pop(theirs).array()
            arrays[ours] = array.T if transposed and array.ndim == 2 else array
    arrays |= {name: tensor.array() for name, tensor in inside.items()}
    notes = []
    magface = prefix in MAGFACE_PREFIXES
    if magface and _carry_epsilon(arrays, backbone):
        notes.append(
            f"MagFace's key names: its BatchNorm epsilon of {MAGFACE_EPSILON:g} is carried over in "
            "the variances"
        )
    outside = sorted(name for name in tensors if not name.startswith(prefix))
    if outside:
        notes.append(f"{len(outside)} tensors beside the network stay unread: {outside[0]}, …")
    head: Head = no_head
    if isinstance(content.get(HEAD), dict):
        shards = [Path(path)]
        if SHARD.fullmatch(Path(path).name):
            shards = shards_of_ranks(Path(path).parent, SHARD, path)
        head = sharded_head(shards, _centres)
    weights = Weights(path, arrays, head, tuple(notes))
    if magface:
        return replace(weights, trained_on=MAGFACE_PIXELS, trained_by="MagFace")
    return weights


def torch_names(backbone: nn.Layer) -> dict[str, tuple[str, bool]]:
    """Return, for each of our state-dict keys, torch's key and whether it is transposed."""
    linear = {
        f"{name}.weight"
        for name, layer in backbone.named_sublayers()
        if isinstance(layer, nn.Linear)
    }
    names = {}
    for key in backbone.state_dict():
        parent, dot, last = key.rpartition(".")
        names[key] = (parent + dot + RENAMED.get(last, last), key in linear)
    return names


def state_dict_in(content: Any, path: str) -> Mapping[str, TorchTensor]:
    """Return the innermost dict of tensors that the usual wrappers lead to.

    Raises:
        UserError: there is none; names `path`.

    """
    while isinstance(content, dict):
        tensors = {
            name: value
            for name, value in content.items()
            if isinstance(name, str) and isinstance(value, TorchTensor)
        }
        if tensors:
            return tensors
        inner = next((key for key in WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = content[inner]
    found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
    raise UserError(
        f"{path} holds no state dict (a dict of tensors, or one under {', '.join(WRAPPERS)}), "
        f"but: {found[:200] or 'nothing'}"
    )


def prefix_of(tensors: Collection[str], names: list[str]) -> str:
    """Return what stands before the most of `names` in the file."""
    found = {
        key.removesuffix(name)
        for name in (names[0], names[-1])
        for key in tensors
        if key == name or key.endswith("." + name)
    }
    return max(
        sorted(found, key=len) or [""],
        key=lambda prefix: sum(prefix + name in tensors for name in names),
    )


def _carry_epsilon(arrays: dict[str, np.ndarray], backbone: nn.Layer) -> bool:
    """Make variances divide with our epsilon as with MagFace's; tell whether any changed."""
    changed = False
    for name, norm in batch_norms(backbone).items():
        key, difference = f"{name}._variance", MAGFACE_EPSILON - epsilon_of(norm)
        if key in arrays and difference:
            arrays[key] = arrays[key] + np.float32(difference)
            changed = True
    return changed


def _centres(path: Path) -> np.ndarray:
    """Return this rank's class centres in a checkpoint of arcface_torch."""
    content = load_torch(path)
    head = content.get(HEAD) if isinstance(content, dict) else None
    weight = head.get("weight") if isinstance(head, dict) else None
    if not isinstance(weight, TorchTensor) or len(weight.shape) != 2:
        raise UserError(f"{path} holds no class centres ({HEAD}: weight)")
    return weight.array()
